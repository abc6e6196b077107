"""Whole clusters on loopback: nodes that count apart and together come to the same state."""

import os
import random
import shutil
import signal
import socket
import threading
import time
import unittest

from cluster import CALLS, Cluster
from harness import LONG, TALLYD, Callers, alone, call, eventually, run, seconds

KILLS = 60 if LONG else 8


class Relay:
    """A TCP relay that keeps what passes, and can be shut."""

    def __init__(self, to_port):
        self.to_port, self.heard = to_port, bytearray()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.to_port), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self.pairs += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source, sink):
        try:
            while data := source.recv(65536):
                self.heard += data
                sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
        for sock in self.pairs:
            sock.close()


class Loopback(Cluster):
    def test_three_nodes_under_load_come_to_the_same_totals(self):
        members = self.cluster()
        loads = [self.load(member) for member in members]
        for load in loads:
            code, result = load.result()
            self.assertEqual((code, result["failed"]), (0, 0), result)
        self.assertSame(members)
        self.assertEqual([m.total("load") for m in members], [3 * CALLS] * 3)
        self.assertEqual(members[0].status()["numbers"], "PROVISIONAL")
        eventually(lambda: members[0].status()["peers"]["connected"] == 2, 15, "all are connected")
        self.assertNotRegex("".join(m.log() for m in members), r"state: (warn|error|alarm)")

    def test_five_nodes_whose_state_processes_are_killed_under_load_fail_no_call(self):
        members = self.cluster(5, log="segment-size = 1m")
        loads = [self.load(member, CALLS // 2, 4) for member in members]
        for _ in range(KILLS):
            member = random.choice(members)
            os.kill(member.state_pid(), signal.SIGKILL)
            member.state_pid()
        for load in loads:
            code, result = load.result()
            self.assertEqual((code, result["failed"]), (0, 0), result)
        for member in members:
            self.wait_counting(member)
        self.assertSame(members)
        self.assertEqual(members[0].total("load"), 5 * (CALLS // 2))

    def test_nodes_killed_under_load_lose_and_double_nothing(self):
        members = self.cluster()
        with Callers(members[0]) as a, Callers(members[1]) as b, Callers(members[2]) as c:
            for _ in range(KILLS):
                time.sleep(random.uniform(0.1, 0.6))  # under load for some time; any will do
                member = random.choice(members)
                member.kill()
                member.launch()
                self.wait_counting(member)
        answered = sum(len(callers.numbers()) for callers in (a, b, c))
        asked = sum(len(callers.calls) for callers in (a, b, c))
        self.assertSame(members)
        total = members[0].total("load")
        self.assertGreater(answered, KILLS)
        self.assertGreaterEqual(total, answered)
        # A call that broke off was counted or not, and a worker takes a few before its first command.
        self.assertLessEqual(total, asked + KILLS * 8)

    def test_a_node_that_was_away_catches_up(self):
        a, b, c = self.cluster()
        c.kill()
        for member in (a, b):
            self.assertEqual(self.load(member).result()[0], 0)
        c.start()
        self.assertSame([a, b, c])
        self.assertEqual(c.total("load"), 2 * CALLS)

    def test_a_wiped_node_says_no_number_before_it_has_caught_up(self):
        a, b, c = self.cluster()
        self.assertEqual(self.load(c).result()[0], 0)
        self.assertSame([a, b, c])
        c.kill()
        c.wipe()
        for member in (a, b):
            os.kill(member.state_pid(), signal.SIGSTOP)
        c.start()
        self.assertEqual(c.count("load")["TALLY_STATUS"], "UNAVAILABLE")
        self.assertTrue(c.status()["joining"])
        self.assertIn("none is said yet", c.ctl("status", check=False).stdout)
        for member in (a, b):
            os.kill(member.state_pid(), signal.SIGCONT)
        self.wait_counting(c)
        heard = c.count("load")
        self.assertEqual((heard["TALLY_STATUS"], heard["TALLY_NUMBER"]),
                         ("PROVISIONAL", str(CALLS + 1)))
        self.assertSame([a, b, c])

    def test_a_node_restored_from_an_old_copy_loses_and_doubles_nothing(self):
        a, b, c = self.cluster()
        self.assertEqual(self.load(c).result()[0], 0)
        self.assertSame([a, b, c])
        c.stop()
        old = os.path.join(c.folder, "old")
        shutil.copytree(c.state, old, ignore=shutil.ignore_patterns("ipc"))
        c.start()
        self.assertEqual(self.load(c).result()[0], 0)
        self.assertSame([a, b, c])
        c.kill()
        shutil.rmtree(c.state)
        shutil.move(old, c.state)
        c.start()
        self.assertSame([a, b, c])
        for member in (a, b, c):
            self.assertIn(member.count("load")["TALLY_STATUS"], ("PROVISIONAL",))
        self.assertSame([a, b, c])
        self.assertEqual(a.total("load"), 2 * CALLS + 3)

    def test_sighup_adds_a_peer_and_removes_it_without_a_restart_of_the_state_process(self):
        a, b = self.cluster(2)
        c = self.member("n3")
        a.count("load")
        state = a.state_pid()
        for member in (a, b):
            member.knows(a, b, c).reload()
        c.knows(a, b).launch()
        self.wait_counting(c)
        self.assertEqual(c.count("load")["TALLY_NUMBER"], "2")
        self.assertSame([a, b, c])
        self.assertEqual(a.state_pid(), state)
        a.knows(a, b).reload()
        eventually(lambda: a.peer("n3") is None, 10, "the peer is gone")
        c.count("load")
        eventually(lambda: b.total("load") == 3, 10, "it is still another's")
        eventually(lambda: a.total("load") == 3, 10, "which passes its blocks on")
        self.assertEqual(a.state_pid(), state)

    def test_a_lone_node_says_FINAL_and_PROVISIONAL_once_it_has_a_peer(self):
        a, b = self.member("n1"), self.member("n2")
        a.start()
        self.assertEqual(a.count("load")["TALLY_STATUS"], "FINAL")
        self.assertIn("numbers      FINAL", a.ctl("status").stdout)
        a.knows(b).reload()
        b.knows(a).launch()
        self.wait_counting(b)
        heard = b.count("load")
        self.assertEqual((heard["TALLY_STATUS"], heard["TALLY_NUMBER"]), ("PROVISIONAL", "2"))
        self.assertSame([a, b])
        self.assertIn("numbers      PROVISIONAL", a.ctl("status").stdout)
        self.assertRegex(a.ctl("peers").stdout, r"(?m)^n2 +127.0.0.1:\d+ +\S+ s ago +connected")
        a.count("load")
        a.stop()
        a.knows().start()
        self.assertEqual(a.count("load")["TALLY_STATUS"], "PROVISIONAL", "b may go on counting")

    def test_a_node_with_a_wrong_key_gets_nothing_and_is_told_of(self):
        a, b = self.cluster(2)
        intruder = self.member("intruder")
        a.count("secret-name")
        intruder.knows(a).more = "join-wait = 100ms"
        intruder.write_conf()
        intruder.launch()
        intruder.wait_serving()
        a.wait_log(r"warn: 127\.0\.0\.1:\d+ sent what no peer has sealed .*key", 10)
        eventually(lambda: a.status()["peers"]["strangers"] > 0, 10, "strangers are counted")
        self.assertFalse(intruder.peer("n1")["connected"])
        eventually(lambda: intruder.peer("n1")["reached"], 10, "it is reached")
        self.assertIn("are both keys right?", intruder.ctl("peers").stdout)
        self.assertNotIn("secret-name", intruder.counters())
        self.assertSame([a, b])

    def test_nodes_that_counted_apart_are_told_what_to_do(self):
        a, b = self.member("n1"), self.member("n2")
        for member in (a, b):
            member.start()
            member.count("load")
        a.knows(b).reload()
        b.knows(a).reload()
        for member in (a, b):
            member.wait_log(r"peer n\d: sent a block of another cluster.*move the folder log "
                            r"out", 20)
            self.assertEqual(member.total("load"), 1)
            self.assertIn("REFUSED", member.ctl("peers").stdout)
        b.kill()
        b.wipe()
        b.launch()
        self.wait_counting(b)
        self.assertEqual(b.count("load")["TALLY_NUMBER"], "2")
        self.assertSame([a, b])

    def test_garbage_on_the_peer_port_does_no_harm(self):
        a, b = self.cluster(2)
        state, socks = a.state_pid(), []
        before = len(os.listdir(f"/proc/{state}/fd"))
        for i in range(200):
            sock = socket.create_connection(("127.0.0.1", a.peer_port), timeout=seconds(5))
            self.addCleanup(sock.close)
            socks.append(sock)
            try:
                if i % 4 == 0:
                    sock.sendall(random.randbytes(5000))
                elif i % 4 == 1:
                    # A greeting as of nng, then the claim of a message of 2^63 bytes.
                    sock.sendall(b"\0SP\0\0\x50\0\0" + b"\x7f" + b"\xff" * 7 + b"x" * 1000)
                elif i % 4 == 2:
                    self.flood(sock, b if i % 8 == 2 else a)
            except OSError:
                pass  # It was cut off, or found no place.
        self.assertIn(a.count("load")["TALLY_STATUS"], ("PROVISIONAL",))
        self.assertSame([a, b])
        self.assertEqual(a.state_pid(), state)
        self.assertGreater(a.status()["peers"]["strangers"], 0)
        self.assertGreater(a.status()["peers"]["cut_off"], 0)
        lines = [line for line in a.log().splitlines() if "warn" in line]
        self.assertLess(len(lines), 10 + seconds(5), "bounded")
        # Who is silent has no place for ever.
        eventually(lambda: self.closed(socks[3]), 20, "a silent connection is closed")
        for sock in socks:
            sock.close()
        eventually(lambda: len(os.listdir(f"/proc/{state}/fd")) <= before + 3, 20,
                   "every descriptor came back")

    def flood(self, sock, member):
        """Well-framed messages under a hint, sealed by nobody."""
        body = bytes.fromhex(member.key)[:8] + random.randbytes(200)
        sock.sendall(b"\0SP\0\0\x50\0\0")
        sock.settimeout(seconds(5))
        sock.recv(8)
        for _ in range(100):
            sock.sendall(len(body).to_bytes(8, "big") + body)

    def closed(self, sock):
        sock.settimeout(0.01)
        try:
            while sock.recv(1000):
                pass
            return True
        except TimeoutError:
            return False
        except OSError:
            return True

    def relay(self, member):
        relay = Relay(member.peer_port)
        self.addCleanup(relay.close)
        return relay

    def test_no_counters_name_is_readable_on_the_wire(self):
        a, b = self.cluster(2, start=False)
        to_a, to_b = self.relay(a), self.relay(b)
        a.knows(("n2", f"127.0.0.1:{to_b.port}", b.key))
        b.knows(("n1", f"127.0.0.1:{to_a.port}", a.key))
        for member in (a, b):
            member.launch()
        for member in (a, b):
            self.wait_counting(member)
        for member in (a, b):
            call(member, "count", ["secret-name", "tag=secret-tag"])
        self.assertSame([a, b])
        for heard in (to_a.heard, to_b.heard):
            self.assertGreater(len(heard), 500)
            self.assertNotIn(b"secret", heard)

    def test_a_witness_keeps_every_count_and_takes_no_calls(self):
        a, b = self.cluster(2, start=False)
        b.member_workers = 0
        b.write_conf()
        b.launch()
        a.launch()
        self.wait_counting(a)
        self.assertEqual(self.load(a).result()[0], 0)
        self.assertSame([a, b])
        self.assertEqual(b.total("load"), CALLS)
        self.assertRaises(OSError, socket.create_connection, ("127.0.0.1", b.port), 1)
        b.stop()

    @alone("measures CPU time, of which a busy machine makes more")
    def test_a_cluster_at_rest_uses_no_time(self):
        members = self.cluster()
        for member in members:
            member.count("load")
        self.assertSame(members)

        def used():
            ticks = 0
            for member in members:
                for pid in member.tree():
                    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                        ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
            return ticks / os.sysconf("SC_CLK_TCK")
        before = used()
        time.sleep(10)  # what is measured
        self.assertLess(used() - before, 0.3 * float(seconds(1)), "seconds of CPU in 3 x 10 s")

    def test_the_key_is_told_before_the_first_start_as_afterwards(self):
        member = self.member("n1")
        before = run(TALLYD, "-c", member.conf, "-k").stdout
        self.assertIn(f"[peer n1]\naddress = 127.0.0.1:{member.peer_port}\nkey = {member.key}\n",
                      before)
        member.start()
        self.assertEqual(member.ctl("key").stdout, before)
        self.assertEqual(run(TALLYD, "-c", member.conf, "-k", check=False).returncode, 1)
        member.stop()
        self.assertEqual(run(TALLYD, "-c", member.conf, "-k").stdout, before)


if __name__ == "__main__":
    unittest.main()

"""Clusters on hosts of their own, in network namespaces, over a network that is slow, lossy and cut: see netns.py."""

import os
import random
import re
import socket
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from cluster import CALLS, Cluster
from harness import LONG, Callers, call, eventually
from netns import ESTABLISHED, SYN_SENT, Net, tap
from storm import Storm

PEER_PORT = 4574
RATE = 80  # calls a second to each node in a storm


class Networked(Cluster):
    def network(self, count, seed=0):
        self.net = Net(count, seed)
        self.addCleanup(self.net.close)
        return self.net

    def hosts(self, count=3, start=True, **settings):
        """A cluster with one host for each node."""
        net = self.network(count)
        members = [self.member(f"n{i + 1}", host=host, **settings)
                   for i, host in enumerate(net.hosts)]
        return self.acquainted(members, start)

    def wait_connected(self, members, limit):
        """Each to each; how many seconds it took."""
        begun = time.monotonic()
        eventually(lambda: all(m.status()["peers"]["connected"] == len(members) - 1
                               for m in members), limit, "all are connected")
        return time.monotonic() - begun

    def assertWent(self, loads):
        """No call failed. How many there were."""
        for load in loads:
            code, result = load.result()
            self.assertEqual((code, result["failed"]), (0, 0), result)
        return sum(load.calls for load in loads)


class Network(Networked):
    def test_nodes_far_apart_on_a_lossy_network_come_to_the_same_totals(self):
        members = self.hosts()
        self.net.all(delay=0.02, jitter=0.005, loss=0.03, duplicate=0.01, reorder=0.01)
        calls = self.assertWent([self.load(member) for member in members])
        self.assertSame(members)
        self.assertEqual(calls, 3 * CALLS)
        self.assertEqual(members[0].total("load"), calls)
        self.assertSameBytes(members)
        lost = sum(link["lost"] for link in self.net.figures()["links"])
        self.assertGreater(lost, 20, "packets were lost")
        self.assertNotRegex("".join(m.log() for m in members), r"state: (warn|error|alarm)")

    def test_nodes_that_are_apart_count_on_and_agree_when_they_meet(self):
        a, b, c = self.hosts()
        self.net.all(delay=0.01, loss=0.01)
        loads = [self.load(member, calls=2000, rate=120) for member in (a, b, c)]
        eventually(lambda: a.total("load") > 100, 10, "all count")
        self.net.isolate(c.host)
        eventually(lambda: not a.peer("n3")["connected"] and not c.peer("n1")["connected"], 10,
                   "the silence is noticed")
        for member in (a, c):
            before = member.total("load")
            eventually(lambda: member.total("load") > before + 20, 5, "both sides count on")
        self.assertLess(c.total("load"), a.total("load"))
        self.net.isolate(c.host, cut=False)
        calls = self.assertWent(loads)
        self.assertSame([a, b, c], 10)
        self.assertEqual(a.total("load"), calls)
        self.assertSameBytes([a, b, c])

    def test_a_third_node_passes_on_what_two_cannot_say_to_each_other(self):
        a, b, c = self.hosts()
        calls = 0
        for cut in (self.net.link, self.net.way):  # in both directions, and in one
            cut(a.host, b.host, cut=True)
            calls += self.assertWent([self.load(m, calls=300, rate=50) for m in (a, b, c)])
            self.assertFalse(a.peer("n2")["connected"] or b.peer("n1")["connected"])
            self.wait_same([a, b, c], 5)
            self.assertEqual([m.total("load") for m in (a, b, c)], [calls] * 3)
            cut(a.host, b.host, cut=False)
            self.wait_connected([a, b, c], 8)
        self.assertSame([a, b, c])
        self.assertSameBytes([a, b, c])

    def test_a_link_that_was_dead_for_long_is_back_within_seconds(self):
        """Nothing says that it is dead, and packets sent again come less and less often."""
        a, b = self.hosts(2)
        self.net.isolate(a.host)
        eventually(lambda: not any(remote == PEER_PORT and state == ESTABLISHED
                                   for m in (a, b) for _, remote, state in m.host.sockets()),
                   12, "connections that are not answered are given up")
        dials = set()

        def dialled():
            dials.update(local for local, remote, state in a.host.sockets()
                         if remote == PEER_PORT and state == SYN_SENT)
            return len(dials) >= 3
        eventually(dialled, 15, "dials that are not answered are given up")
        # The other end of a dead connection does not know, either, and must not keep it: there are
        # few places for each address.
        eventually(lambda: not any(local == PEER_PORT and state == ESTABLISHED
                                   for m in (a, b) for local, _, state in m.host.sockets()),
                   35, "connections over which nobody is heard are given up")
        self.assertEqual((a.count("load")["TALLY_NUMBER"], b.count("load")["TALLY_NUMBER"]),
                         ("1", "1"))
        self.net.isolate(a.host, cut=False)
        print("connected after", self.wait_connected([a, b], 8), "s")
        self.wait_same([a, b], 2)
        self.assertEqual(a.status()["peers"]["cut_off"], 0, "not taken for strangers")


class Slow(Networked):
    def test_a_checkpoint_over_a_slow_link_goes_on_where_it_was_interrupted(self):
        """A node has lost its disk, and the others' logs do not reach back: it needs their checkpoint, and takes
        calls until it has it."""
        steps = "".join(f"step = count ${{arg1}}-{'x' * 50}-{i:03}\n" for i in range(100))
        a, b, c = self.hosts(log="segment-size = 1m\ncheckpoint-size = 1m", more="join-wait = 1s",
                             scripts=f"[script many]\n{steps}")
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda i: call(a, "many", [f"{i:03}"], limit=60), range(160)))
        calls = self.assertWent([self.load(m, calls=4000, concurrency=2) for m in (a, b, c)])
        self.wait_same([a, b, c])
        self.assertGreater(min(m.status()["log"]["first"] for m in (a, b, c)), 0, "logs were cut")
        c.kill()
        c.wipe()
        for other in (a, b):
            self.net.link(other.host, c.host, rate=400000, delay=0.02)
        c.launch()
        self.wait_counting(c)
        with Callers(c, threads=2) as callers:
            fetched, size = self.wait_fetched(c, 0.2)
            self.net.isolate(c.host)
            eventually(lambda: not c.peer("n1")["connected"] and not c.peer("n2")["connected"], 10,
                       "the silence is noticed")
            self.net.isolate(c.host, cut=False)
            later, same_size = self.wait_fetched(c, 0.7)
            self.assertEqual(size, same_size, "of the same checkpoint")
            self.assertEqual(len(re.findall("fetching a checkpoint", c.log())), 1, "it went on")
            self.assertNotIn("went over to", c.log())
            c.kill()
            c.start()
            c.wait_log("went over to a peer's checkpoint", 40)
            self.assertLess(len(re.findall("fetching a checkpoint", c.log())), 4)
        self.wait_same([a, b, c], 60)
        self.assertVerified([a, b, c])
        self.assertSameBytes([a, b, c])
        self.assertGreater(len(callers.numbers()), 100, "it took calls meanwhile")
        self.assertGreaterEqual(c.total("load"), calls + len(callers.numbers()))
        self.assertLessEqual(c.total("load"), calls + len(callers.calls) + 2)

    def wait_fetched(self, member, share):
        """Until so much of a checkpoint is there: its bytes, and of how many."""
        def fetched():
            for name, _, _ in member.peers:
                peer = member.peer(name)
                if peer and peer["fetch_bytes"] and peer["fetched"] >= share * peer["fetch_bytes"]:
                    return peer["fetched"], peer["fetch_bytes"]
            return None
        return eventually(fetched, 30, f"{share:.0%} of a checkpoint are here")

    def test_a_backlog_over_a_slow_link_is_sent_once(self):
        """What is not acknowledged yet is mostly on its way: who sends it again makes it worse."""
        a, b = self.hosts(2)
        self.net.isolate(a.host)
        self.assertWent([self.load(a, calls=6000, concurrency=2)])
        self.net.link(a.host, b.host, cut=False, rate=100000, delay=0.02)
        before = self.net.figures()["links"]
        self.wait_same([a, b], 40)
        passed = {(link["from"], link["to"]): link["bytes"] - old["bytes"]
                  for old, link in zip(before, self.net.figures()["links"])}
        size = a.status()["log"]["end"]
        self.assertGreater(size, 400000)
        self.assertLess(passed[0, 1], 1.3 * size, "bytes sent for so many bytes of log")


class Wire(Networked):
    """What passes between nodes, as somebody on the way sees it."""

    GREETING = b"\0SP\0\0%c\0\0"  # nng's, of a connection; then messages: u64 length, bytes
    PUSH, PULL = 0x50, 0x51

    def test_an_intruder_with_a_tap_and_a_key_of_his_own_gets_nothing(self):
        net = self.network(4)
        path = os.path.join(self.folder, "wire.pcap")
        net.capture(path)
        names = ["secret-north", "secret-south", "secret-west"]
        a, b, c = members = self.acquainted([self.member(name, host=host)
                                             for name, host in zip(names, net.hosts)])
        intruder = self.member("intruder", host=net.hosts[3], more="join-wait = 100ms")
        intruder.knows(*members).launch()
        for member in members:
            call(member, "count", ["secret-counter", "tag=secret-tag"])
            self.assertEqual(self.load(member, calls=1000).result()[0], 0)
        intruder.wait_serving()
        for member in members:
            member.wait_log(r"warn: 10\.77\.0\.4:\d+ sent what no peer has sealed", 10)
            eventually(lambda: member.status()["peers"]["strangers"] > 0, 10, "it is counted")
            self.assertEqual(intruder.peer(member.name)["received"], 0)
        self.wait_same(members)
        self.assertEqual(intruder.counters(), "")
        flows = tap(path)
        for (_, source, sink, _), heard in flows.items():
            self.assertNotRegex(heard, b"secret|north|south|counter")
            if sink == intruder.host.address and source == PEER_PORT:
                # Not a byte but what says that somebody listens.
                self.assertIn(heard, (b"", self.GREETING % self.PULL))
        self.assertGreater(sum(map(len, flows.values())), 50000)
        self.replayed(members, intruder, flows)

    def replayed(self, members, intruder, flows):
        """The intruder sends what he has heard from a to b."""
        a, b, c = members
        recorded = next(heard for (source, _, sink, port), heard in flows.items()
                        if (source, sink, port) == (a.host.address, b.host.address, PEER_PORT)
                        and heard.startswith(self.GREETING % self.PUSH))
        count, at = 0, 8
        while at + 8 <= len(recorded):
            count, at = count + 1, at + 8 + int.from_bytes(recorded[at:at + 8], "big")
        self.assertGreater(count, 10)
        before = {m: (m.counters(), m.peer(a.name) or {}) for m in members}
        for member in members:
            sock = intruder.host.connect(member.host.address, PEER_PORT, 10)
            self.addCleanup(sock.close)
            try:
                sock.sendall(recorded)
            except OSError:
                pass  # It was cut off.
        # It was sealed for b, and b has had it; for c it is forged, and a finds its own name on it.
        eventually(lambda: b.peer(a.name)["stale"] >= before[b][1]["stale"] + count - 1, 10,
                   "b drops what it has had")
        eventually(lambda: c.peer(a.name)["forged"] > before[c][1]["forged"], 10,
                   "c drops what is sealed for another")
        for member in members:
            self.assertEqual(member.counters(), before[member][0])
            self.assertEqual(member.status()["peers"]["connected"], 2)
        self.assertEqual(a.count("secret-counter")["TALLY_NUMBER"], "4")
        self.assertSame(members)


class Addresses(Networked):
    def test_peers_are_found_by_name_and_by_IPv6_and_followed_when_they_move(self):
        net = self.network(3)
        a, b, c = [self.member(f"n{i + 1}", host=host) for i, host in enumerate(net.hosts)]
        a.peer_host, a.listen_host = "n1.tally.test", "0.0.0.0"
        b.peer_host = b.listen_host = f"[{b.host.address6}]"
        c.peer_host, c.listen_host = "n3.tally.test", "[::]"
        names = {"n1.tally.test": a.host.address, "n3.tally.test": c.host.address6}
        self.named(net, names)
        self.acquainted([a, b, c])
        self.wait_connected([a, b, c], 10)
        calls = self.assertWent([self.load(m, calls=200) for m in (a, b, c)])
        net.move(a.host, "10.77.0.99")
        # The others still hear it, by its connections to their IPv6 addresses.
        eventually(lambda: not a.peer("n2")["connected"] and not a.peer("n3")["connected"], 10,
                   "nothing comes to its old address")
        self.named(net, {**names, "n1.tally.test": a.host.address})
        print("followed after", self.wait_connected([a, b, c], 15), "s")
        calls += self.assertWent([self.load(m, calls=200) for m in (a, b, c)])
        self.assertSame([a, b, c])
        self.assertEqual(a.total("load"), calls)

    def named(self, net, names):
        for host in net.hosts:
            host.call_hosts(os.path.join(self.folder, f"hosts-{host.number}"), names)

    def test_a_port_that_is_taken_is_told_of_and_tried_again(self):
        a, b = self.hosts(2, start=False, more="join-wait = 1s")
        with a.host.namespace:
            taken = socket.create_server((a.host.address, PEER_PORT))
        with taken:
            a.launch()
            b.launch()
            a.wait_log(r"error: cannot listen for peers on 10\.77\.0\.1:4574 \(peer-listen\): "
                       r"Address in use: trying again", 10)
            self.wait_counting(b)
            # It takes calls, and its own counts reach others.
            self.wait_counting(a)
            self.assertEqual(a.count("load")["TALLY_STATUS"], "PROVISIONAL")
        a.wait_log("listening for peers on", 10)
        self.wait_connected([a, b], 10)
        self.assertSame([a, b])
        self.assertEqual(len(re.findall("cannot listen", a.log())), 1)


class Storms(Networked):
    """Long runs: run.py --minutes 10 [--seed N] test_network.Storms; see storm.py."""

    MINUTES = float(os.environ.get("TALLY_MINUTES", "10" if LONG else "0"))
    SEED = int(os.environ.get("TALLY_SEED") or random.randrange(10**6))

    def test_after_a_storm_all_nodes_have_the_same_and_no_count_is_lost_or_doubled(self):
        storm, asked, answered, total = self.storm(60 * self.MINUTES or 60, gentle=False)
        self.assertGreater(answered, asked // 2, "most calls went well")
        self.assertLessEqual(answered, total)
        self.assertLessEqual(total, asked)

    def test_a_storm_that_ends_no_call_fails_none_and_counts_each_once(self):
        storm, asked, answered, total = self.storm(60 * self.MINUTES / 2 or 25, gentle=True)
        self.assertEqual((answered, total), (asked, asked))

    def storm(self, duration, gentle):
        members = self.hosts(start=False, log="segment-size = 1m\ncheckpoint-size = 2m",
                             more="join-wait = 5s")
        storm = Storm(self, members, self.start_load, self.SEED, gentle)
        print(f"seed {self.SEED}, {duration:.0f} s of weather")
        for member in members:
            storm.new_archive(member)
        self.acquainted(members)
        self.net.all(delay=0.005)
        storm.rage(duration)
        asked, answered = storm.tell()
        total = members[0].total("load")
        blocks = self.assertSameBytes(members, storm.archives)
        self.assertVerified(members)
        print(f"answered {answered}, total {total}, asked {asked}; {blocks} blocks in "
              f"{members[0].status()['streams']} streams, the same at all")
        self.assertEqual([m.total("load") for m in members], [total] * 3)
        self.assertEqual(storm.unexpected(), [])
        return storm, asked, answered, total

    def start_load(self, member):
        return self.load(member, calls=10**7, rate=RATE, retry_connect="30s", timeout="60s")


if __name__ == "__main__":
    unittest.main()

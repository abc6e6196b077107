"""Connections that are no calls, or hostile ones: a real call beside them is served as if alone, and
memory stays bounded."""

import re
import socket
import threading
import time
import unittest

from harness import (Caller, ServerTest, alive, call, environment, eventually, memory_kib,
                     raise_descriptor_limit, seconds)

# What a call without a wait may take on a loaded machine of two cores. Alone it takes some milliseconds;
# a server that serves others first takes their time-outs, which are seconds.
CALL_LIMIT = 1.0


class Hostile(ServerTest):
    def raw(self, node):
        sock = socket.create_connection(("127.0.0.1", node.port), timeout=seconds(10))
        self.addCleanup(sock.close)
        return sock

    def assertServed(self, node, calls=10):
        """Every worker gets a call or two; none waits for anybody."""
        for _ in range(calls):
            heard = call(node)
            self.assertTrue(heard.ended)
            self.assertIsNotNone(heard.number)
            self.assertLess(heard.seconds, seconds(CALL_LIMIT))

    def memory(self, node):
        return {pid: memory_kib(pid, "VmHWM") for pid in node.workers(2)}

    def assertClosed(self, sock, limit=10):
        sock.settimeout(seconds(limit))
        try:
            while sock.recv(65536):
                pass
        except ConnectionResetError:
            pass
        except socket.timeout:
            self.fail(f"the connection is open after {limit} s")

    def test_one_silent_connection_disturbs_no_call(self):
        node = self.node(fastagi="greeting-time = 2s").start()
        silent = self.raw(node)
        self.assertServed(node)
        begun = time.monotonic()
        self.assertClosed(silent, 5)
        self.assertGreater(time.monotonic() - begun, 0.5, "closed only when greeting-time is over")
        self.assertServed(node, 2)

    def test_a_thousand_silent_connections_disturb_no_call(self):
        raise_descriptor_limit(2048)
        node = self.node(fastagi="greeting-time = 30s").start()
        before = self.memory(node)
        silent = [self.raw(node) for _ in range(1000)]
        self.assertServed(node)
        for pid, kib in self.memory(node).items():
            self.assertLess(kib - before[pid], 4096 + 1000 * 4 * max(1, seconds(1)), "KiB more")
        for sock in silent:
            sock.close()
        self.assertServed(node, 2)
        self.assertEqual(set(self.memory(node)), set(before), "the same workers")

    def test_a_thousand_half_greetings_disturb_no_call(self):
        raise_descriptor_limit(2048)
        node = self.node(fastagi="greeting-time = 30s").start()
        before = self.memory(node)
        for _ in range(1000):
            self.raw(node).sendall(b"agi_network: yes\nagi_request: agi://x/")
        self.assertServed(node)
        for pid, kib in self.memory(node).items():
            self.assertLess(kib - before[pid], 16384 * max(1, seconds(1)), "KiB more")

    def test_a_line_of_64_mib_without_end_costs_no_memory(self):
        node = self.node().start()
        before = self.memory(node)
        for beginning in (b"", b"agi_network: yes\nagi_calleridname: "):
            sock = self.raw(node)
            over = threading.Event()

            def flood():
                chunk = b"x" * 65536
                try:
                    sock.sendall(beginning)
                    for _ in range(1024):
                        sock.sendall(chunk)
                except OSError:
                    pass  # the server has closed
                over.set()
            thread = threading.Thread(target=flood, daemon=True)
            thread.start()
            self.assertServed(node)
            self.assertTrue(over.wait(seconds(20)), "the flood ends")
            thread.join()
            self.assertClosed(sock)
        for pid, kib in self.memory(node).items():
            self.assertLess(kib - before[pid], 4096 * max(1, seconds(1)), "KiB more")

    def test_a_line_without_end_in_place_of_a_response_ends_the_call(self):
        node = self.node().start()
        before = self.memory(node)
        with Caller(node) as caller:
            caller.expect("ANSWER")
            try:
                for _ in range(160):
                    caller.send(b"y" * 65536)
            except OSError:
                pass
            self.assertIsNone(caller.command())
        self.assertServed(node)
        for pid, kib in self.memory(node).items():
            self.assertLess(kib - before[pid], 4096 * max(1, seconds(1)), "KiB more")

    def test_a_thousand_connections_that_close_at_once_disturb_no_call(self):
        node = self.node().start()
        workers, said = node.workers(2), len(node.log())
        begun = time.monotonic()
        for number in range(1000):
            sock = socket.create_connection(("127.0.0.1", node.port), timeout=seconds(5))
            if number % 2:
                # A reset instead of a close.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
            if number % 200 == 0:
                self.assertServed(node, 1)
        self.assertServed(node)
        lines = node.log()[said:].count("\n")
        self.assertLess(lines, 10 + 4 * 2 * (time.monotonic() - begun + 1), "a line a second a kind")
        self.assertEqual(node.workers(2), workers)

    def test_what_is_not_agi_is_closed_and_logged_at_most_once_a_second(self):
        node = self.node().start()
        said = len(node.log())
        begun = time.monotonic()
        for _ in range(50):
            for junk in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100, b"\n\n\n",
                         bytes(range(256)),
                         b"agi_network: yes\nagi_calleridname: a\0b\n\n"):
                sock = self.raw(node)
                sock.sendall(junk)
                self.assertClosed(sock)
        self.assertServed(node)
        lines = node.log()[said:].count("\n")
        kinds, workers = 5, 2
        self.assertLessEqual(lines, kinds * workers * (time.monotonic() - begun + 1))
        self.assertGreater(lines, 0, "it is logged at all")
        self.assertNotIn("\0", node.log())

    def test_nul_bytes_in_the_greeting_count_nothing(self):
        node = self.node(scripts="").start()
        sock = self.raw(node)
        sock.sendall(environment(node, "count", ["tick\0ets"]).encode())
        self.assertClosed(sock)
        self.assertEqual(call(node, "count", ["tick"]).number, 1)
        self.assertEqual(node.ctl("counters").stdout.count("tick"), 1)

    def test_a_caller_that_reads_nothing_is_ended_and_disturbs_nobody(self):
        node = self.node(fastagi="command-time = 1s").start()
        with Caller(node) as caller:
            caller.expect("ANSWER")
            # No response: after command-time the call is over.
            begun = time.monotonic()
            self.assertIsNone(caller.command())
            self.assertLess(time.monotonic() - begun, seconds(5))
        self.assertServed(node)

    def test_a_greeting_that_trickles_in_byte_by_byte_is_taken(self):
        node = self.node().start()
        with Caller(node, None) as caller:
            for byte in environment(node, "fast").encode():
                caller.send(bytes([byte]))
            caller.expect("ANSWER")

    def test_clients_outside_the_allowed_networks_are_closed_without_a_word(self):
        node = self.node(fastagi="allow = 127.0.0.2/32")
        node.launch()
        eventually(lambda: re.search(r":%04X " % node.port, open("/proc/net/tcp", encoding="ascii").read()),
                   10, "it listens")
        sock = self.raw(node)
        sock.sendall(environment(node, "fast").encode())
        sock.settimeout(seconds(10))
        try:
            self.assertEqual(sock.recv(1), b"")
        except ConnectionResetError:
            pass
        allowed = socket.socket()
        self.addCleanup(allowed.close)
        allowed.bind(("127.0.0.2", 0))
        allowed.settimeout(seconds(10))
        allowed.connect(("127.0.0.1", node.port))
        allowed.sendall(environment(node, "fast").encode())
        self.assertEqual(allowed.recv(7), b"ANSWER\n")
        self.assertTrue(alive(node.master.pid))

    def test_the_limit_of_calls_leaves_those_in_progress_alone(self):
        raise_descriptor_limit(2048)
        node = self.node(fastagi="calls = 16", workers=1)
        node.start()
        held = [Caller(node) for _ in range(16)]
        for caller in held:
            self.addCleanup(caller.close)
            caller.expect("ANSWER")
        extra = [self.raw(node) for _ in range(20)]
        for caller in held:
            caller.reply()
            caller.expect("STREAM FILE queue-thereare .*")
            caller.close()
        for sock in extra:
            sock.close()
        eventually(lambda: self.served(node), 10, "calls are taken again")
        self.assertEqual(len(node.pids("worker")), 1)

    def served(self, node):
        try:
            return call(node).number is not None
        except (OSError, AssertionError):
            return False


if __name__ == "__main__":
    unittest.main()

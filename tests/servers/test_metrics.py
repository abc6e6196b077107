"""Figures over HTTP: what is scraped is true, and scraping disturbs nobody."""

import http.client
import os
import re
import signal
import socket
import threading
import time
import unittest

from harness import ServerTest, alone, call, eventually, free_port, seconds
from test_kills import Load

METRIC = re.compile(r'^([a-z_]+)((?:\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})?) ([0-9.e+-]+|\+Inf)$')


class Metrics(ServerTest):
    def serving(self, **settings):
        self.port = free_port()
        node = self.node(log=f"[metrics]\nlisten = 127.0.0.1:{self.port}\n", **settings)
        return node.start()

    def get(self, path="/metrics", method="GET"):
        """(status, headers, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds(10))
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def figures(self):
        """name and labels -> value, after a look at the format."""
        status, headers, body = self.get()
        self.assertEqual((status, headers["Content-Type"]),
                         (200, "text/plain; version=0.0.4; charset=utf-8"))
        found, kinds = {}, {}
        for line in body.splitlines():
            if line.startswith("# "):
                word, name, rest = line[2:].split(" ", 2)
                self.assertIn(word, ("HELP", "TYPE"))
                if word == "TYPE":
                    self.assertNotIn(name, kinds, "one family, one place")
                    kinds[name] = rest
                continue
            name, labels, value = METRIC.match(line).groups()
            family = re.sub("_(bucket|sum|count)$", "", name) if name not in kinds else name
            self.assertIn(family, kinds, line)
            self.assertEqual(kinds[family] == "counter", name.endswith("_total"), line)
            self.assertNotIn(name + labels, found)
            found[name + labels] = float(value)
        return found

    def test_figures_are_what_happened(self):
        node = self.serving()
        for _ in range(3):
            call(node, "fast")
        call(node, "count", ["votes", "by=5"])
        found = eventually(lambda: (lambda f: f if f.get("tally_counts_total") == 4 else None)
                           (self.figures()), 5, "all counts are shown")
        self.assertEqual(found["tally_counts_asked_total"], 4)
        self.assertEqual(found["tally_count_seconds_count"], 4)
        self.assertEqual(found["tally_counters"], 2)
        self.assertEqual(found["tally_state_up"], 1)
        self.assertEqual(found["tally_numbers_provisional"], 0)
        self.assertEqual((found["tally_copies_wanted"], found["tally_copies_nodes"]), (1, 1))
        self.assertEqual(found['tally_process_starts_total{process="worker"}'], 2)
        self.assertGreater(found["tally_count_seconds_sum"], 0)
        self.assertGreaterEqual(found["tally_commit_seconds_count"], 1)
        self.assertEqual(found['tally_count_seconds_bucket{le="+Inf"}'], 4)
        self.assertEqual(found["tally_calls_open"], 0)
        self.assertGreaterEqual(found['tally_calls_ended_total{how="done"}'], 1)
        fs = os.statvfs(node.state)
        self.assertEqual(found["tally_disk_bytes"], fs.f_blocks * fs.f_frsize)
        self.assertLess(abs(found["tally_disk_free_bytes"] - fs.f_bavail * fs.f_frsize), 1 << 30)

    def test_health_is_503_while_the_state_process_does_not_run_and_200_again_after(self):
        node = self.serving()
        self.assertEqual(self.get("/healthz")[::2], (200, "ok\n"))
        call(node)
        before = self.figures()["tally_count_seconds_count"]
        # What damages the log for good would end tallyd: it cannot be written to, and is started again
        # and again, later each time.
        os.rename(os.path.join(node.state, "ipc"), os.path.join(node.state, "away"))
        os.kill(node.state_pid(), signal.SIGKILL)
        eventually(lambda: self.get("/healthz")[0] == 503, 5, "the end is noticed")
        self.assertIn("state process", self.get("/healthz")[2])
        found = self.figures()
        self.assertEqual(found["tally_state_up"], 0)
        self.assertNotIn("tally_log_bytes", found)
        os.rename(os.path.join(node.state, "away"), os.path.join(node.state, "ipc"))
        eventually(lambda: self.get("/healthz")[0] == 200, 20, "it is back")
        found = self.figures()
        self.assertEqual(found["tally_count_seconds_count"], before)
        self.assertGreaterEqual(found['tally_process_starts_total{process="state"}'], 2)

    def test_the_process_that_serves_figures_may_die_and_no_call_notices(self):
        node = self.serving()
        pid = node.pids("metrics")[0]
        os.kill(pid, signal.SIGKILL)
        self.assertTrue(call(node).ended)
        eventually(lambda: [p for p in node.pids("metrics") if p != pid], 10, "another serves")
        eventually(lambda: self.reachable(), 10, "it answers")
        node.stop()

    def reachable(self):
        try:
            return self.get()[0] == 200
        except OSError:
            return False

    def test_what_is_not_asked_for_rightly_is_refused(self):
        node = self.serving()
        self.assertEqual(self.get("/")[0], 404)
        self.assertEqual(self.get("/metrics/../etc/passwd")[0], 404)
        self.assertEqual(self.get("/metrics", "POST")[0], 405)
        status, _, body = self.get("/metrics", "HEAD")
        self.assertEqual((status, body), (200, ""))
        for nonsense in (b"\0" * 1000, b"GET " + b"x" * 100000, b"\r\n" * 5000, os.urandom(5000)):
            with socket.create_connection(("127.0.0.1", self.port), seconds(5)) as sock:
                try:
                    sock.sendall(nonsense)
                    sock.shutdown(socket.SHUT_WR)
                    while sock.recv(65536):
                        pass
                except OSError:
                    pass  # It was cut off.
        self.assertEqual(self.get()[0], 200)
        self.assertNotIn("metrics (pid", node.log(), "it did not die of it")

    def test_silent_connections_do_not_keep_others_out_for_ever(self):
        self.serving()
        for _ in range(100):
            sock = socket.create_connection(("127.0.0.1", self.port), seconds(5))
            self.addCleanup(sock.close)
        eventually(self.reachable, 30, "the silent ones were closed")

    @alone("takes all of the machine, and looks at how calls fare")
    def test_a_thousand_scrapes_a_second_disturb_no_call(self):
        node = self.serving()
        over, scraped = threading.Event(), []

        def scrape():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds(10))
            begun = time.monotonic()
            while not over.is_set():
                connection.request("GET", "/metrics")
                scraped.append(len(connection.getresponse().read()))
                # A quarter of a thousand a second each, and not more.
                over.wait(max(0, begun + len(scraped) / 1000 - time.monotonic()))
            connection.close()
        threads = [threading.Thread(target=scrape) for _ in range(4)]
        for thread in threads:
            thread.start()
        load = Load(node, 1000, 8, path="count/load")
        self.addCleanup(load.close)
        code, result = load.result()
        over.set()
        for thread in threads:
            thread.join()
        self.assertEqual((code, result["failed"]), (0, 0), result)
        self.assertEqual(node.total("load"), 1000)
        self.assertGreater(len(scraped), 100)

    def test_without_the_setting_nothing_is_served(self):
        node = self.node().start()
        self.assertEqual(node.pids("metrics"), [])

    def test_a_port_that_is_taken_is_told_with_the_setting(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            node = self.node(log=f"[metrics]\nlisten = 127.0.0.1:{taken.getsockname()[1]}\n")
            code, said = node.refused()
        self.assertEqual(code, 1)
        self.assertRegex(said, r"cannot listen on 127\.0\.0\.1:\d+: .*change listen= in \[metrics\]")

    def test_the_process_that_serves_figures_has_neither_key_nor_log_nor_lock_open(self):
        node = self.serving()
        pid = node.pids("metrics")[0]
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        self.assertFalse([link for link in links if node.state in link], links)
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            status = file.read()
        if "Seccomp:\t2" not in status:
            self.assertIn("system call filter", node.log())
        self.assertIn("CapEff:\t0000000000000000", status)


if __name__ == "__main__":
    unittest.main()

"""tallyctl status says first whether all is well, and if not, what is wrong and what to do."""

import json
import os
import signal
import unittest

from cluster import Cluster
from harness import TALLYCTL, Caller, call, eventually, run


class Status(Cluster):
    def said(self, node, *words):
        done = node.ctl(*words, "status", check=False)
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout

    def test_a_node_that_is_well_says_OK_first(self):
        node = self.node(scripts="").start()
        call(node, "count", ["votes"])
        code, text = self.said(node)
        self.assertEqual(code, 0)
        self.assertRegex(text, r"^OK: test counts\n\n")
        self.assertRegex(text, r"\nprocesses +master \d+, workers 2\n")
        self.assertRegex(text, r"\ndisk +[\d.]+ \w+ of [\d.]+ \w+ are free\n")
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        report = json.loads(self.said(node, "--json")[1])
        self.assertEqual((report["verdict"], report["problems"]), ("ok", []))
        self.assertEqual(report["processes"], {"master": node.master.pid, "workers": 2})
        self.assertGreater(report["disk"]["free"], 0)
        node.kill()
        code, text = self.said(node)
        self.assertEqual(code, 3)
        self.assertRegex(text, r"^NOT RUNNING: ")
        self.assertEqual(json.loads(self.said(node, "--json")[1])["verdict"], "not running")

    def test_calls_are_told_and_a_state_process_that_was_started_again(self):
        node = self.node(scripts="").start()
        before = json.loads(self.said(node, "--json")[1])["calls"]
        for _ in range(3):
            call(node, "count", ["votes"])
        with Caller(node, "count", ["votes"]) as caller:
            caller.expect("SET VARIABLE.*")
            calls = json.loads(self.said(node, "--json")[1])["calls"]
            self.assertEqual((calls["taken"] - before["taken"], calls["open"]), (4, 1))
            self.assertEqual((calls["workers_started"], calls["states_started"]), (2, 1))
            self.assertRegex(self.said(node)[1], r"\ncalls +1 open; \d+ taken, 0 failed, 0 refused\n")
        pid = node.state_pid()
        os.kill(pid, signal.SIGKILL)
        node.state_pid(other_than=pid)
        code, text = self.said(node)
        self.assertEqual(code, 1)
        self.assertRegex(text, r"^ATTENTION: the state process was started again 1 times")

    def test_colours_are_for_terminals_or_on_demand(self):
        node = self.node(scripts="").start()
        self.assertNotIn("\033", self.said(node)[1])
        self.assertIn("\033[32mOK\033[0m", self.said(node, "--color=always")[1])
        wanted = f"{TALLYCTL} -d {node.state} status"
        for env, colour in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False),
                            ({"TERM": "xterm", "NO_COLOR": ""}, True), ({"TERM": "dumb"}, False), ({}, False)):
            shown = run("script", "-qc", wanted, "/dev/null", env={"PATH": os.environ["PATH"], **env}).stdout
            self.assertIn("OK", shown)
            self.assertEqual("\033[" in shown, colour, env)

    def test_a_full_disk_and_a_nearly_full_one_are_told(self):
        disk = self.small_disk("12m")
        node = self.node(scripts="", state=os.path.join(disk, "state"),
                         log="segment-size = 2m\ncheckpoint-size = 2m\n").start()
        code, text = self.said(node)
        self.assertEqual(code, 1)
        self.assertRegex(text, r"^ATTENTION: the disk is nearly full: [\d.]+ MiB are free\n    make room")
        with open(os.path.join(disk, "filler"), "wb") as file:
            try:
                while file.write(b"x" * 65536):
                    file.flush()
            except OSError:
                pass
        node.ctl("checkpoint", check=False)
        call(node, "count", ["votes"])
        node.ctl("checkpoint", check=False)
        eventually(lambda: json.loads(self.said(node, "--json")[1])["full"], 20, "it is full")
        code, text = self.said(node)
        self.assertEqual(code, 1)
        self.assertRegex(text, r"^NOT OK: the disk is full: new counts are refused")
        os.unlink(os.path.join(disk, "filler"))
        eventually(lambda: not json.loads(self.said(node, "--json")[1])["full"], 20, "there is room")

    def test_a_peer_that_is_gone_is_named_with_what_to_do(self):
        a, _, c = self.cluster()
        eventually(lambda: self.said(a)[0] == 0, 20, "all is well")
        self.assertRegex(self.said(a)[1], r"^OK: n1 counts, 2 of 2 peers are connected\n")
        c.kill()
        code, text = eventually(lambda: (lambda s: s if s[0] else None)(self.said(a)), 20, "it is noticed")
        self.assertEqual(code, 1)
        self.assertRegex(text, rf"^ATTENTION: peer n3 at 127.0.0.1:{c.peer_port} is not reachable, last heard "
                         r"[\d.]+ s ago\n    is its machine up")
        self.assertNotRegex(text, r"(?m)^(NOT )?OK")
        problems = json.loads(self.said(a, "--json")[1])["problems"]
        self.assertEqual([p["severity"] for p in problems], ["attention"])
        c.start()
        eventually(lambda: self.said(a)[0] == 0, 20, "all is well again")

    def test_a_node_that_waits_to_catch_up_says_so(self):
        a, b, _ = self.cluster(start=False, more="join-wait = 1h")
        a.launch()
        eventually(lambda: a.pids("state"), 20, "it runs")
        code, text = eventually(lambda: (lambda s: s if "joining" not in s[1] and "NOT OK" in s[1] else None)(
            self.said(a)), 20, "it answers")
        self.assertEqual(code, 1)
        self.assertRegex(text, r"^NOT OK: no number is said yet: .*\n    no peer is connected")
        self.assertIn("ATTENTION: peer n2", text)
        del b


if __name__ == "__main__":
    unittest.main()

"""tallyctl log and verify: what was counted, by whom, and how to go on where one left off."""

import json
import os
import re
import signal
import subprocess
import time
import unittest

from harness import AGICALL, TALLYCTL, Callers, call, eventually, run
from cluster import Cluster


def lines_of(node, *words):
    return [json.loads(line) for line in node.ctl("--json", *words).stdout.splitlines()]


class Follower:
    """tallyctl log --follow --json, line by line."""

    def __init__(self, node, *words):
        self.process = subprocess.Popen(
            [TALLYCTL, "-d", node.state, "--json", "log", "--follow", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def line(self):
        return json.loads(self.process.stdout.readline())

    def end(self):
        """Ctrl-C: its exit code, and the position it leaves."""
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, re.search(r"--from (\S+)\n$", said).group(1)


class Log(Cluster):
    def test_who_counted_and_what_the_number_was_stands_in_each_line(self):
        a, b, c = self.cluster()
        call(a, "count", ["votes", "tag=x"])
        eventually(lambda: b.total("votes") == 1 if "votes" in b.counters() else False, 10, "b has it")
        call(b, "count", ["votes", "by=2", "tag=\u00fc y"])
        eventually(lambda: all("3}" in m.counters() for m in (a, b, c)), 10, "all have both")
        for member in (a, b, c):
            # Its own order of arrival need not be that of counting.
            first, second = sorted(lines_of(member, "log"), key=lambda line: line["number"])
            self.assertEqual((first["node"], first["number"], first["numbers"]), ("n1", 1, "PROVISIONAL"))
            self.assertEqual((second["node"], second["number"], second["tag"]), ("n2", 3, "\u00fc y"))
            self.assertEqual(lines_of(member, "log", "--node", "n2"), [second])
            self.assertEqual(lines_of(member, "log", "--node", "n[13]"), [first])
        shown = run(TALLYCTL, "-d", c.state, "--utc", "log", env={"LC_ALL": "C"}).stdout
        self.assertRegex(shown, r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z n2 +votes +\+2 +3 PROV\. "
                         r"\\xc3\\xbc y$")
        # A checkpoint knows the nodes' names where their streams' beginnings are gone.
        for member in (a, b, c):
            member.ctl("checkpoint")
            member.kill()
            self.assertEqual(lines_of(member, "log", "--node", "n2"), [second])

    def test_the_last_n_are_never_more_than_n_while_others_are_counted(self):
        node = self.cluster(1)[0]
        with Callers(node):
            for _ in range(30):
                self.assertLessEqual(len(lines_of(node, "log", "--limit", "3")), 3)

    def lone(self):
        node = self.node(scripts="").start()
        for i in range(10):
            call(node, "count", ["votes", f"tag=t{i}"])
            call(node, "count", [f"c-{i}"])
        return node

    def test_counts_are_chosen_by_counter_tag_and_time(self):
        node = self.lone()
        every = lines_of(node, "log")
        self.assertEqual(len(every), 20)
        self.assertEqual({line["numbers"] for line in every}, {"FINAL"})
        middle = every[10]["time_ms"]
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(middle // 1000)) + f".{middle % 1000:03}Z"
        for running in (True, False):
            self.assertEqual(lines_of(node, "log"), every)
            chosen = lambda *words: lines_of(node, "log", *words)
            self.assertEqual(chosen("--counter", "c-*"), every[1::2])
            self.assertEqual(chosen("--tag", "t3"), [every[6]])
            self.assertEqual(chosen("--limit", "3"), every[-3:])
            self.assertEqual(chosen("--limit", "100"), every)
            self.assertEqual(chosen("--counter", "votes", "--limit=2"), every[16:20:2])
            self.assertEqual(chosen("--since", at), [e for e in every if e["time_ms"] >= middle])
            self.assertEqual(chosen("--until", at), [e for e in every if e["time_ms"] < middle])
            self.assertEqual(chosen("--since", "2h", "--until", "1h"), [])
            self.assertEqual(len(chosen("--since", "2h")), 20)
            self.assertEqual(chosen("--node", "x*"), [])
            if running:
                node.kill()

    def test_the_last_ones_and_the_position_are_right_within_blocks_of_many_counts(self):
        node = self.node(scripts="").start()
        run(AGICALL, "--load", "--calls", "600", "--concurrency", "64", "--expect", "close",
            node.url("count"), "votes")
        every = lines_of(node, "log")
        self.assertLess(len({line["block"] for line in every}), len(every), "blocks have several")
        for limit in (*range(1, 70), 599, 600, 601):
            self.assertEqual(lines_of(node, "log", "--limit", str(limit)), every[-limit:])
        follower = Follower(node)
        followed = [follower.line() for _ in every]
        follower.end()
        for line, after in zip(followed, followed[1:] + [{"block": 0}]):
            self.assertEqual("position" in line, line["block"] != after["block"])
        some = next(i for i, line in enumerate(followed) if "position" in line)
        self.assertEqual(lines_of(node, "log", "--from", followed[some]["position"]), every[some + 1:])

    def test_nonsense_is_refused_with_what_was_expected(self):
        node = self.lone()
        for words, said in ((["--since", "yesterday"], "expected a time"), (["--until", "25:00"], "expected a time"),
                            (["--since", "2026-02-30x"], "expected a time"),
                            (["--since", "\033[2J"], "--since ?[2J: expected"),
                            (["--limit", "0"], "expected a number"), (["--limit", "-1"], "expected a number"),
                            (["--limit", "9999999"], "at most 1000000"),
                            (["--from", "12"], "expected a place"), (["--from", "0-" + "g" * 16], "expected a place"),
                            (["--follow", "--until", "12:00"], "give one of them"),
                            (["votes"], "too many")):
            done = node.ctl("log", *words, check=False)
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
            self.assertIn(said, done.stderr)
        for place in ("ffffff-" + "0" * 16, "41-" + "0" * 16):
            done = node.ctl("log", "--from", place, check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ""), place)
            self.assertRegex(done.stderr, "another log|this node's log")

    def test_follow_gives_each_count_once_and_goes_on_where_it_left_off(self):
        node = self.lone()
        follower = Follower(node, "--counter", "votes", "--limit", "2")
        self.assertEqual([follower.line()["tag"] for _ in range(2)], ["t8", "t9"])
        call(node, "count", ["votes", "tag=live"])
        line = follower.line()
        self.assertEqual(line["tag"], "live")
        code, place = follower.end()
        self.assertEqual(code, 0)
        self.assertEqual(place, line["position"])
        call(node, "count", ["votes", "tag=missed"])
        call(node, "count", ["other"])
        follower = Follower(node, "--from", place)
        self.assertEqual([follower.line()["counter"] for _ in range(2)], ["votes", "other"])
        # The state process's end does not end it, nor does it lose or double a count.
        os.kill(node.state_pid(), signal.SIGKILL)
        call(node, "count", ["votes", "tag=after"])
        self.assertEqual(follower.line()["tag"], "after")
        code, place = follower.end()
        self.assertEqual(lines_of(node, "log", "--from", place), [])
        node.kill()
        self.assertEqual(lines_of(node, "log", "--from", place), [])
        done = node.ctl("log", "--follow", "--from", place, check=False)
        self.assertEqual(done.returncode, 3)
        self.assertIn("not running", done.stderr)

    def test_follow_says_so_where_what_comes_next_was_released(self):
        node = self.node(scripts="", log="segment-size = 1m\ncheckpoint-size = 1m\n").start()
        call(node, "count", ["votes"])
        follower = Follower(node)
        place = follower.line()["position"]
        follower.end()
        for _ in range(3):
            run(AGICALL, "--load", "--calls", "6000", "--concurrency", "2", "--expect", "close",
                node.url("count"), "votes", "tag=" + "x" * 64)
            node.ctl("checkpoint")
        eventually(lambda: json.loads(node.ctl("--json", "status").stdout)["log"]["first"] > 0, 20,
                   "the log's beginning is released")
        done = node.ctl("log", "--from", place, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("was released", done.stderr)


if __name__ == "__main__":
    unittest.main()

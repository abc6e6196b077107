"""tallyctl watch: counters as they change and what happens at a node, over its restarts, with nothing lost."""

import json
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import threading
import unittest

from cluster import Cluster
from harness import AGICALL, TALLYCTL, call, eventually, seconds


class Watcher:
    """tallyctl watch --json: its lines as they come."""

    def __init__(self, test, node, *words, json_too=True):
        self.process = subprocess.Popen(
            [TALLYCTL, "-d", node.state, *(["--json"] if json_too else []), "watch", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        test.addCleanup(self.close)
        self.lines, self.said, self.json = queue.Queue(), [], json_too
        self.seen = []
        for stream, put in ((self.process.stdout, self.lines.put), (self.process.stderr, self.said.append)):
            thread = threading.Thread(target=self.read, args=(stream, put), daemon=True)
            thread.start()

    @staticmethod
    def read(stream, put):
        for line in stream:
            put(line)

    def line(self, limit=10):
        text = self.lines.get(timeout=seconds(limit))
        self.seen.append(json.loads(text) if self.json else text)
        return self.seen[-1]

    def until(self, wanted, limit=20):
        """The first line that is like this."""
        while True:
            line = self.line(limit)
            if wanted(line):
                return line

    def amount(self, counter):
        return sum(line["amount"] for line in self.seen if line.get("counter") == counter)

    def end(self, number=signal.SIGINT):
        """Its exit code, with every line it wrote in seen."""
        self.process.send_signal(number)
        code = self.process.wait(seconds(20))
        while not self.lines.empty():
            self.line()
        return code

    def heard(self, pattern, limit=20):
        return eventually(lambda: re.search(pattern, "".join(self.said)), limit, f"/{pattern}/ is said")

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def load(node, name, calls=3000, rate=None):
    words = ["--rate", str(rate)] if rate else ["--concurrency", "8"]
    return subprocess.Popen([AGICALL, "--load", "--calls", str(calls), *words, "--expect", "close",
                             node.url("count"), name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Watch(Cluster):
    def ready(self, node, *words):
        """A watcher that is there: one that has told of a count."""
        watcher = Watcher(self, node, *words)

        def there():
            call(node, "count", ["ready"])
            try:
                return watcher.line(0.3)["counter"] == "ready"
            except queue.Empty:
                return False
        eventually(there, 20, "watch tells of counts")
        return watcher

    def test_the_amounts_of_all_lines_are_what_was_counted_and_lines_of_a_counter_are_few(self):
        node = self.node(scripts="").start()
        watcher = self.ready(node)
        process = load(node, "votes")
        process.wait(seconds(60))
        watcher.until(lambda _: watcher.amount("votes") >= 3000)
        self.assertEqual(watcher.end(), 0)
        votes = [line for line in watcher.seen if line["counter"] == "votes"]
        self.assertEqual((sum(l["amount"] for l in votes), sum(l["counts"] for l in votes)), (3000, 3000))
        for line, after in zip(votes, votes[1:]):
            self.assertGreater(after["time_ms"] - line["time_ms"], 150)
            self.assertGreaterEqual(after["total"], line["total"])

    def test_nothing_is_lost_nor_doubled_over_restarts_and_going_on_from_a_position(self):
        node = self.node(scripts="").start()
        watcher = self.ready(node)
        call(node, "count", ["votes", "by=7"])
        first = watcher.until(lambda line: line["counter"] == "votes")
        self.assertEqual((first["amount"], first["total"]), (7, 7))
        state = node.state_pid()
        os.kill(state, signal.SIGKILL)
        node.state_pid(other_than=state)
        call(node, "count", ["votes", "by=5"])
        self.assertEqual(watcher.until(lambda line: line["counter"] == "votes")["amount"], 5)
        node.kill()
        watcher.heard("does not run; waiting")
        node.start()
        watcher.heard("answers again")
        call(node, "count", ["votes", "by=3"])
        self.assertEqual(watcher.until(lambda line: line["counter"] == "votes")["total"], 15)
        self.assertEqual(watcher.end(), 0)
        self.assertEqual(watcher.amount("votes"), 15)
        self.assertEqual("".join(watcher.said).count("waiting for it"), "".join(watcher.said).count("answers again"))
        place = watcher.heard(r"--from (\S+)\n").group(1)
        self.assertEqual(place, watcher.seen[-1]["position"])
        call(node, "count", ["votes", "by=2"])
        for position, rest in ((place, 2), (first["position"], 10)):
            again = Watcher(self, node, "--from", position, "votes")
            again.until(lambda line: line["total"] == 17)
            again.end()
            self.assertEqual(again.amount("votes"), rest)

    def test_everything_is_killed_under_load_and_each_count_is_told_once(self):
        a, b = self.cluster(2)
        watcher = self.ready(a)
        told = []
        loads = [load(node, name, 2000, rate=150) for node, name in ((a, "x"), (b, "y"), (a, "z"))]
        for round_ in range(9):
            last = len(watcher.seen)
            if round_ % 3 == 0:
                a.kill()
                a.launch()
            elif round_ % 3 == 1:
                os.kill(a.state_pid(), signal.SIGKILL)
            else:
                self.assertEqual(watcher.end(random.choice((signal.SIGINT, signal.SIGTERM))), 0)
                told += watcher.seen
                watcher = Watcher(self, a, "--from", watcher.heard(r"--from (\S+)\n").group(1))
                last = 0
            watcher.until(lambda _: len(watcher.seen) > last + 5, 60)
        for process in loads:
            process.wait(seconds(60))
        eventually(lambda: a.counters() == b.counters(), 30, "both have the same counters")
        counted = {line["name"]: line["total"] for line in map(json.loads, a.counters().splitlines())}
        del counted["ready"]

        def sums():
            while not watcher.lines.empty():
                watcher.line()
            return {name: sum(line["amount"] for line in told + watcher.seen if line["counter"] == name)
                    for name in counted}
        eventually(lambda: sum(sums().values()) >= sum(counted.values()), 20, "all is told")
        self.assertEqual(watcher.end(), 0)
        self.assertEqual(sums(), counted)

    def test_all_that_changed_long_ago_is_told_in_pieces_from_any_line_on(self):
        node = self.node(scripts="").start()
        start = self.ready(node)
        start.end()
        place = start.seen[-1]["position"]
        for i in range(30):
            call(node, "count", [f"c-{i % 10}", f"by={i}"])
        watcher = Watcher(self, node, "--from", place, "c-*")
        eventually(lambda: watcher.lines.qsize() >= 10, 20, "all ten are told")
        watcher.end()
        self.assertEqual(sum(line["amount"] for line in watcher.seen), sum(range(30)))
        for i, line in enumerate(watcher.seen):
            again = Watcher(self, node, "--from", line["position"], "c-*")
            try:
                more = again.line(0.5)["counter"]
            except queue.Empty:
                more = None
            again.end()
            # What stands behind the line comes, and behind the last one nothing.
            self.assertEqual(more is None, i == len(watcher.seen) - 1, line)

    def test_patterns_choose_and_a_limit_ends(self):
        node = self.node(scripts="").start()
        start = self.ready(node)
        start.end()
        place = start.seen[-1]["position"]
        for name in ("a-1", "b-1", "a-2", "c"):
            call(node, "count", [name])
        done = Watcher(self, node, "--from", place, "--limit", "2", "a-*", "c")
        self.assertEqual(done.process.wait(seconds(10)), 0)
        self.assertEqual([done.line()["counter"] for _ in range(2)], ["a-1", "a-2"])
        text = Watcher(self, node, "--from", place, "--limit", "1", json_too=False)
        self.assertRegex(text.line(), r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} a-1 +\+1 +1\n$")

    def test_what_was_released_and_another_log_are_told_and_it_goes_on(self):
        node = self.node(scripts="", log="segment-size = 1m\ncheckpoint-size = 1m").start()
        watcher = self.ready(node)
        watcher.end()
        place = watcher.seen[-1]["position"]
        while json.loads(node.ctl("--json", "status").stdout)["log"]["first"] == 0:
            load(node, "votes", 4000).wait(seconds(120))
        again = Watcher(self, node, "--from", place)
        self.assertIn("released", again.line()["what"])
        again.until(lambda line: line["counter"] == "votes")
        node.stop()
        again.heard("waiting")
        shutil.rmtree(os.path.join(node.state, "log"))
        node.start()
        again.until(lambda line: line.get("gone") and "another" in line["what"])
        call(node, "count", ["votes"])
        self.assertEqual(again.until(lambda line: line.get("counter") == "votes")["total"], 1)
        self.assertEqual(again.end(), 1)

    def test_it_ends_when_nobody_reads_any_more_and_at_a_signal(self):
        node = self.node(scripts="").start()
        for number in (signal.SIGINT, signal.SIGTERM):
            self.assertEqual(self.ready(node).end(number), 0)
        read, write = os.pipe()
        process = subprocess.Popen([TALLYCTL, "-d", node.state, "watch"], stdout=write, stderr=subprocess.PIPE)
        os.close(write)
        os.close(read)
        said = process.communicate(timeout=seconds(10))[1]
        self.assertNotIn(b"cannot write", said)
        self.assertIn(process.returncode, (0, 1))

    def test_nonsense_is_refused_and_a_node_that_does_not_run_is_3(self):
        node = self.node(scripts="").start()
        for words, said in ((["--from", "x"], "expected a place"), (["--limit", "0"], "expected a number"),
                            (["--events", "votes"], "neither"), (["--events", "--from", "1-" + "0" * 16], "neither")):
            done = node.ctl("watch", *words, check=False)
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
            self.assertIn(said, done.stderr)
        node.stop()
        done = node.ctl("watch", check=False)
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn("not running", done.stderr)

    def test_events_tell_of_peers_checkpoints_and_restarts(self):
        a, b = self.cluster(2)
        watcher = Watcher(self, a, "--events")
        # What happens before its first look is no event.
        eventually(lambda: self.is_there(watcher, a), 20, "watch looks")
        b.kill()
        gone = watcher.until(lambda line: line["event"] == "peer-gone")
        self.assertEqual((gone["peer"], gone["severity"]), ("n2", "attention"))
        b.start()
        self.assertEqual(watcher.until(lambda line: line["event"] == "peer-connected")["severity"], "ok")
        os.kill(a.state_pid(), signal.SIGKILL)
        watcher.until(lambda line: line["event"] == "state-started")
        a.kill()
        watcher.heard("does not run; waiting")
        a.start()
        watcher.until(lambda line: line["event"] == "node-started")
        self.assertEqual(watcher.end(), 0)
        # Whoever comes later is told what is wrong now.
        b.kill()
        eventually(lambda: not a.peer("n2")["connected"], 20, "a notices")
        late = Watcher(self, a, "--events", "--limit", "1", json_too=False)
        self.assertRegex(late.line(), r" ATTENTION peer n2 is not connected\n$")
        self.assertEqual(late.process.wait(seconds(10)), 0)

    @staticmethod
    def is_there(watcher, node):
        call(node, "count", ["x"])
        node.ctl("checkpoint")
        try:
            return watcher.line(2)["event"] == "checkpoint"
        except queue.Empty:
            return False


if __name__ == "__main__":
    unittest.main()

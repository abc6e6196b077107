"""tallyctl fsck on damaged state directories: what it says of the next start is what the next start does."""

import glob
import json
import os
import random
import shutil
import subprocess
import unittest

from cluster import Cluster
from harness import AGICALL, TALLYCTL, eventually, run
from test_tallyctl import snapshot


def flip(path, at):
    """Change one bit."""
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << random.randrange(8)]))


class Fsck(Cluster):
    def load(self, node, calls=3000):
        run(AGICALL, "--load", "--calls", str(calls), "--concurrency", "2", "--expect", "close",
            node.url("count"), "votes", "tag=" + "x" * 64)

    def history(self):
        """The files of a node with two checkpoints and log below, between and above them."""
        node = self.node(scripts="", log="segment-size = 1m\n").start()
        for _ in range(3):
            self.load(node)
            node.ctl("checkpoint")
        self.load(node)
        node.kill()
        return node

    def end(self, node):
        """(number, offset) of the log's end."""
        status = json.loads(node.ctl("--json", "status", check=False).stdout)
        return status["log"]["end"], status["checkpoint"]["lsn"]

    def place(self, node, lsn):
        """The segment file and the offset of an LSN; all are of 1 MiB."""
        return os.path.join(node.state, "log", f"{lsn // 2**20 + 1:016}.log"), lsn % 2**20

    def said(self, node):
        before = snapshot(node.state)
        done = node.ctl("--json", "fsck", check=False)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        text = node.ctl("fsck", check=False)
        self.assertEqual(snapshot(node.state), before, "nothing is changed")
        self.assertLessEqual(max(map(len, text.stdout.split("- ")[0].splitlines())), 80)
        report = json.loads(done.stdout)
        self.assertEqual(done.returncode, 0 if report["good"] else 1)
        return report, text.stdout

    def assertTrue_of_next_start(self, node, report):
        """Start it and see."""
        if report["next_start"] == "goes on":
            node.start()
            self.assertGreater(node.total("votes"), 0)
            node.kill()
        else:
            self.assertEqual(report["next_start"], "refuses")
            before = snapshot(os.path.join(node.state, "log"))
            code, _ = node.refused()
            self.assertEqual(code, 1)
            self.assertEqual(snapshot(os.path.join(node.state, "log")), before)

    def test_verify_finds_a_flipped_bit_anywhere(self):
        node = self.node(scripts="", log="segment-size = 1m\n").start()
        self.load(node, 6000)
        node.stop()
        end, mark = self.end(node)
        self.assertEqual(end, mark, "the last checkpoint vouches for all")
        self.assertGreater(end, 2**20)
        files = [(path, 2**20) for path in sorted(glob.glob(node.state + "/log/*.log"))[:end // 2**20]]
        files += [self.place(node, end)]
        files += [(path, os.path.getsize(path)) for path in glob.glob(node.state + "/log/*.checkpoint")]
        for path, size in files:
            with open(path, "rb") as file:
                whole = file.read()
            places = random.sample(range(size), 6) + [random.randrange(48, 64), size - 1]
            for at in places:
                flip(path, at)
                done = node.ctl("verify", check=False)
                self.assertEqual(done.returncode, 1, (path, at, size))
                self.assertIn(f"BAD: log/{os.path.basename(path)}, offset ", done.stdout)
                self.assertLessEqual(int(done.stdout.partition("offset ")[2].partition(":")[0]), at)
                with open(path, "r+b") as file:
                    file.write(whole)

    def test_what_it_says_of_each_damage_is_true(self):
        node = self.history()
        kept = node.state + ".kept"
        shutil.move(node.state, kept)

        def anew():
            shutil.rmtree(node.state, ignore_errors=True)
            shutil.copytree(kept, node.state, symlinks=True, ignore=lambda folder, names: [
                name for name in names if os.path.basename(folder) == "ipc"])
        anew()
        end, mark = self.end(node)
        checkpoints = sorted(glob.glob(node.state + "/log/*.checkpoint"))
        logs = sorted(glob.glob(node.state + "/log/*.log"))
        self.assertEqual(len(checkpoints), 2)
        self.assertGreater(len(logs), 2)
        self.assertGreater(end, mark + 10000)
        key = os.path.join(node.state, "node.key")

        def tear():
            # The last frame loses its end, as a crash in the middle of a write leaves it.
            path, offset = self.place(node, end - 40)
            with open(path, "r+b") as file:
                file.seek(offset)
                file.write(bytes(40))

        def other_key():
            with open(key, "w", encoding="ascii") as file:
                file.write("tally-key-1 " + "5a" * 32 + "\n")

        cases = (
            ("nothing", lambda: None, True, "goes on", "whole: "),
            ("a bit above the checkpoint", lambda: flip(*self.place(node, mark + 5000)), False, "refuses",
             "what stands before it is whole"),
            ("a bit below it", lambda: flip(*self.place(node, mark - 5000)), False, "goes on",
             "what stands before it is whole"),
            ("a torn tail", tear, True, "goes on", "cut off by a crash"),
            ("no last segment but one", lambda: os.unlink(logs[-2]), False, "refuses",
             os.path.basename(logs[-2]) + " is missing"),
            ("no first segment", lambda: os.unlink(logs[0]), None, None, ""),
            ("a damaged newest checkpoint", lambda: flip(checkpoints[1], 5000), False, "goes on",
             "0003.checkpoint is damaged"),
            ("two damaged checkpoints", lambda: (flip(checkpoints[0], 5000), flip(checkpoints[1], 5000)), False,
             "refuses", "0002.checkpoint is damaged"),
            ("no key", lambda: os.unlink(key), False, "refuses", "node.key is missing beside a log"),
            ("a key that others may read", lambda: os.chmod(key, 0o644), False, "refuses", "make it 0600"),
            ("a key that is none", lambda: flip(key, 3), False, "refuses", "node.key cannot be used"),
            ("another node's key", other_key, False, "goes on", "not the key that signed"),
            ("what was being made", lambda: open(node.state + "/log/0000000000000009.log.new", "wb").close(),
             True, "goes on", "the next start removes it"),
        )
        for name, break_it, good, next_start, words in cases:
            with self.subTest(name):
                anew()
                break_it()
                report, text = self.said(node)
                if good is not None:
                    self.assertEqual((report["good"], report["next_start"]), (good, next_start), text)
                self.assertIn(words, text)
                self.assertEqual("With peers:" in text, not report["good"])
                if report["next_start"] == "refuses" and "node.key" not in words and "0600" not in words:
                    done = node.ctl("status", check=False)
                    self.assertEqual(done.returncode, 1)
                    self.assertIn("tallyctl fsck tells", done.stderr)
                self.assertTrue_of_next_start(node, report)

    def test_what_it_says_to_do_with_peers_brings_all_back(self):
        a, b, c = self.cluster()
        for member in (a, b, c):
            self.load(member, 500)
        self.assertSame([a, b, c])
        a.ctl("checkpoint")
        self.load(a, 100)
        self.assertSame([a, b, c])
        end = json.loads(a.ctl("--json", "status").stdout)["log"]["end"]
        a.kill()
        flip(os.path.join(a.state, "log", "0000000000000001.log"), end - 3000)
        report, text = self.said(a)
        self.assertEqual((report["good"], report["next_start"]), (False, "refuses"), text)
        steps = [line.strip() for line in text.splitlines() if line.startswith(("    mv ", "    cp "))]
        self.assertEqual(len(steps), 2)
        subprocess.run(["sh", "-ec", "\n".join(steps).replace("DIR", a.state)], check=True)
        a.start()
        self.wait_counting(a)
        eventually(lambda: a.counters() == b.counters(), 20, "it has all back")
        self.assertEqual(a.total("votes"), 1600)

    def test_a_running_node_is_looked_at_while_it_counts(self):
        node = self.node(scripts="").start()
        self.load(node, 200)
        report, text = self.said_running(node)
        self.assertEqual((report["good"], report["next_start"]), (True, "it runs"))
        self.assertIn("The node runs", text)

    def said_running(self, node):
        return (json.loads(node.ctl("--json", "fsck").stdout), node.ctl("fsck").stdout)

    def test_a_key_that_is_lost_is_not_taken_for_one_that_is_still_to_be_made(self):
        node = self.node(scripts="").start()
        node.stop()
        os.unlink(os.path.join(node.state, "node.key"))
        self.assertIn("missing beside a log", node.ctl("key", check=False).stderr)

    def test_a_directory_that_was_never_started_is_whole(self):
        node = self.node(scripts="").start()
        node.stop()
        shutil.rmtree(os.path.join(node.state, "log"))
        os.unlink(os.path.join(node.state, "node.key"))
        done = run(TALLYCTL, "-d", node.state, "fsck")
        self.assertIn("the next start makes both", done.stdout)
        node.start()


if __name__ == "__main__":
    unittest.main()

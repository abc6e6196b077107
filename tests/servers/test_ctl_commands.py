"""Every command of tallyctl on every kind of node: its exit code is one of those that the manual names, what it
prints is what it should, and neither nonsense nor a folder of something else gets it further."""

import json
import os
import pty
import re
import signal
import subprocess
import tempfile
import time
import unittest

from cluster import Cluster
from harness import AGICALL, TALLYCTL, call, run
from test_tallyctl import commands, snapshot

# What stands behind a command where it needs something.
WORDS = {"get": ["votes"], "config": ["show"], "add": ["votes", "1", "--reason", "test"],
         "backup": ["/nowhere/backup"], "restore": ["/nowhere/backup"],
         "retire": ["votes", "--undo"]}
# Those that only a running node can do: 3 where it does not run. status ends with 3 as well, and tells.
ONLINE = {"peers", "checkpoint", "add", "retire"}
# doctor's verdict is the machine's, too.
ANY = {"doctor"}
# Those that go on until somebody ends them: test_watch.py, test_top.py.
LIVE = {"watch", "top"}


class Commands(Cluster):
    def words(self, name, node):
        if name == "backup":
            return ["-d", node.state, name, tempfile.mktemp(prefix="backup-", dir=self.folder)]
        at = ["-c", node.conf] if name in ("config", "doctor") else ["-d", node.state]
        return [*at, name, *WORDS.get(name, [])]

    def every(self, node, wanted):
        """Run each as text and as JSON; wanted(name) is the exit code."""
        for name in commands():
            if name in ("help", "restore") or name in LIVE:  # restore is of no node that is there: test_backup
                continue
            for json_too in ((), ("--json",)):
                done = run(TALLYCTL, *json_too, *self.words(name, node), check=False, env={"LC_ALL": "C.UTF-8"})
                with self.subTest(command=name, json=bool(json_too)):
                    code = wanted(name)
                    if name in ANY:
                        self.assertIn(done.returncode, (0, 1), done.stderr)
                    else:
                        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
                    if (code == 0 or name == "status") and name != "peers":
                        self.assertTrue(done.stdout)
                    for line in done.stdout.splitlines() if json_too else ():
                        json.loads(line)
                    self.assertNotIn("\033", done.stdout + done.stderr)
                    self.assertFalse(re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout + done.stderr))

    def test_a_lone_node_running_and_stopped(self):
        node = self.node(scripts="").start()
        call(node, "count", ["votes", "tag=\u202ex \u009b\u00fc"])
        self.every(node, lambda name: 0)
        node.stop()
        before = snapshot(node.state)
        self.every(node, lambda name: 3 if name in ONLINE | {"status"} else 0)
        self.assertEqual(snapshot(node.state), before)

    def test_a_cluster_under_load(self):
        members = self.cluster()
        loads = [subprocess.Popen([AGICALL, "--load", "--duration", "60s", "--rate", "50", "--expect", "close",
                                   m.url("count"), "votes"], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL) for m in members]
        try:
            for member in members:
                self.every(member, lambda name: 0)
        finally:
            for load in loads:
                load.kill()
                load.wait()

    def test_a_folder_of_something_else_and_a_missing_one(self):
        node = self.node(scripts="")
        for state in (self.folder, os.path.join(self.folder, "x" * 300), "/proc/self/mem"):
            for name in commands():
                if name in ("help", "config"):
                    continue
                done = run(TALLYCTL, "-d", state, name, *WORDS.get(name, []), check=False)
                self.assertEqual((done.returncode, done.stdout), (1, ""), (name, state))
                self.assertTrue(done.stderr.startswith("tallyctl: "), done.stderr)
        node.close()

    def test_words_of_any_bytes_do_no_harm(self):
        node = self.node(scripts="").start()
        call(node, "count", ["votes"])
        for word in (b"", b"\xff\xfe", b"%s%n", b"-", b"\x1b]0;x\x07", "\u202e\U0001f600".encode(), b"y" * 4096,
                     b"../../etc/passwd", b"*" * 300, b"{\"do\":1}"):
            for name in commands():
                live = ["--limit", "x"] if name in LIVE else []
                done = subprocess.run([TALLYCTL, "-d", node.state, name, *live, word], capture_output=True, check=False,
                                      timeout=60, cwd=self.folder)
                self.assertIn(done.returncode, (0, 1, 2), (name, word, done.stderr))
                self.assertFalse(re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", done.stdout + done.stderr), (name, word))

    def test_progress_is_told_on_a_terminal_only_and_leaves_nothing_behind(self):
        node = self.node(scripts="").start()
        run(AGICALL, "--load", "--calls", "4000", "--concurrency", "2", "--expect", "close",
            node.url("count"), "votes")
        node.stop()
        self.assertEqual(node.ctl("verify").stderr, "")
        for _ in range(20):
            shown = self.verify_slowly(node)
            if shown:
                break
        self.assertRegex(shown, r"^\rverify: +\d+ %, .* of .*/s, .* left")
        self.assertRegex(shown, r"\r +\r$")

    def verify_slowly(self, node):
        """What verify tells a terminal when it takes more than a second: it is made to, by being stopped."""
        master, slave = pty.openpty()
        process = subprocess.Popen([TALLYCTL, "-d", node.state, "verify"], stdout=subprocess.PIPE,
                                   stderr=slave, text=True)
        os.close(slave)
        time.sleep(0.05)
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.1)
        process.send_signal(signal.SIGCONT)
        out = process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, 0)
        self.assertIn("good", out)
        try:
            return os.read(master, 65536).decode()
        except OSError: # nothing was told, and the other end is closed
            return ""
        finally:
            os.close(master)


if __name__ == "__main__":
    unittest.main()

"""deploy/run.sh: README's first command, as far as it needs no installing and no building."""

import contextlib
import glob
import os
import re
import signal
import socket
import subprocess
import types
import unittest

from harness import (BIN, ROOT, Caller, ServerTest, die_with_parent, eventually, free_port, run,
                     seconds)

RUN = os.path.join(ROOT, "deploy", "run.sh")
PORTS = 20  # what it takes for several nodes lies within so many


class FirstCommand(ServerTest):
    def begin(self, port, *words, before=die_with_parent, **streams):
        """Start it as from a terminal: a process group of its own."""
        out = os.path.join(self.folder, "out")
        env = dict(os.environ, TALLY_BUILD=os.path.dirname(BIN))
        with open(out, "w", encoding="utf-8") as file:
            process = subprocess.Popen(
                ["sh", RUN, "--no-install", "--no-build", "--port", str(port), "--dir",
                 os.path.join(self.folder, "run"), *words],
                stdout=file, stderr=file, env=env, start_new_session=True,
                preexec_fn=before, **streams)
        self.addCleanup(self.end, process)

        def serves():
            self.said = open(out, encoding="utf-8").read()
            self.assertIsNone(process.poll(), self.said)
            return "until Ctrl-C" in self.said
        eventually(serves, 20, "it serves")
        return process

    def groups(self, process):
        """The process groups that there are of the script, and of the nodes, whose locks name their leaders."""
        found = [process.pid]
        for lock in glob.glob(os.path.join(self.folder, "run", "**", "lock"), recursive=True):
            with open(lock, encoding="ascii") as file:
                found.append(int(file.read()))
        return [group for group in found if self.group_lives(group)]

    def group_lives(self, group):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        return True

    def end(self, process):
        for group in self.groups(process):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        process.wait()

    def assertNobodyLeft(self, process):
        # Who ended last may not be reaped yet by the system's first process.
        eventually(lambda: not self.groups(process), 5, "nobody is left")

    def test_it_shows_a_call_serves_ends_cleanly_and_goes_on_counting(self):
        port = free_port(PORTS)
        for number, ending in enumerate((signal.SIGTERM, signal.SIGINT, signal.SIGTERM), 1):
            process = self.begin(port, stdin=subprocess.DEVNULL)
            self.assertIn(f"SAY NUMBER {number}", self.said)
            self.assertIn(f"AGI(agi://127.0.0.1:{port}/hits)", self.said)
            if ending == signal.SIGINT:
                # Ctrl-C goes to all of the terminal's foreground group.
                os.killpg(process.pid, ending)
            else:
                process.send_signal(ending)
            self.assertEqual(process.wait(seconds(20)), 0)
            self.assertNobodyLeft(process)

    def test_at_ctrl_c_a_call_is_brought_to_its_end(self):
        port = free_port(PORTS)
        node = types.SimpleNamespace(url=lambda path: path, connect=lambda limit: socket.create_connection(
            ("127.0.0.1", port), timeout=seconds(limit)))
        process = self.begin(port, "--nodes", "2", stdin=subprocess.DEVNULL)
        with Caller(node, "hits") as caller:
            caller.expect("ANSWER")
            os.killpg(process.pid, signal.SIGINT)
            caller.reply()
            for command in ("STREAM FILE queue-thereare .*", "SAY NUMBER 3 .*", "STREAM FILE vm-goodbye .*",
                            "HANGUP"):
                caller.expect(command)
                caller.reply()
        self.assertEqual(process.wait(seconds(20)), 0)
        self.assertNobodyLeft(process)

    def test_it_needs_no_standard_input(self):
        def without():
            die_with_parent()
            os.close(0)
        process = self.begin(free_port(PORTS), before=without)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(seconds(20)), 0)

    def test_a_cluster_of_three_shows_a_call_on_each_and_the_totals_meeting(self):
        port = free_port(PORTS)
        for turn in (1, 2):
            process = self.begin(port, "--nodes", "3", stdin=subprocess.DEVNULL)
            for node in (1, 2, 3):
                self.assertIn(f"A call to agi://127.0.0.1:{port + node - 1}/hits", self.said)
                self.assertIn(f"    node-{node}  {3 * turn}\n", self.said)
            self.assertRegex(self.said, r"node-3 +127\.0\.0\.1:\d+ .* connected, holds all")
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(seconds(40)), 0)
            self.assertNobodyLeft(process)

    def test_a_node_that_ends_by_itself_ends_the_rest_of_the_cluster(self):
        process = self.begin(free_port(PORTS), "--nodes", "2", stdin=subprocess.DEVNULL)
        with open(os.path.join(self.folder, "run", "node-2", "state", "lock"),
                  encoding="ascii") as file:
            os.kill(int(file.read()), signal.SIGKILL)
        self.assertEqual(process.wait(seconds(20)), 1)
        self.assertNobodyLeft(process)
        with open(os.path.join(self.folder, "out"), encoding="utf-8") as file:
            self.assertIn("node 2 ended by itself with exit code 137; the end of its log:\n", file.read())

    def test_a_port_that_is_taken_is_told_and_nothing_is_started(self):
        node = self.node().start()
        done = run("sh", RUN, "--no-install", "--no-build", "--port", str(node.port), "--dir",
                   os.path.join(self.folder, "run"), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"port {node.port} is taken", done.stderr)
        again = re.search(r"sh deploy/run\.sh --nodes 1 --port (\d+)$", done.stderr.strip())
        self.assertNotEqual(int(again.group(1)), node.port)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "run")))

    def test_a_wrong_option_is_told(self):
        for words in (["--prot", "1"], ["--port"], ["--port", "x"], ["--port", "65536"], ["--dir"],
                      ["--nodes", "6"]):
            done = run("sh", RUN, *words, check=False)
            self.assertEqual(done.returncode, 2, words)
            self.assertIn(words[0], done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, "the mistake stands by itself")


if __name__ == "__main__":
    unittest.main()

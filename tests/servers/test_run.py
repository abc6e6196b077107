"""deploy/run.sh: README's first command, as far as it needs no installing and no building."""

import os
import signal
import subprocess
import unittest

from harness import BIN, ROOT, ServerTest, die_with_parent, eventually, free_port, run, seconds

RUN = os.path.join(ROOT, "deploy", "run.sh")


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

    def end(self, process):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def assertNobodyLeft(self, process):
        """Of its process group. Who ended last may not be reaped yet by the system's first process."""
        def nobody():
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return True
            return False
        eventually(nobody, 5, "nobody is left")

    def test_it_shows_a_call_serves_ends_cleanly_and_goes_on_counting(self):
        port = free_port()
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

    def test_it_needs_no_standard_input(self):
        def without():
            die_with_parent()
            os.close(0)
        process = self.begin(free_port(), before=without)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(seconds(20)), 0)

    def test_a_cluster_of_three_shows_a_call_on_each_and_the_totals_meeting(self):
        port = free_port()
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
        process = self.begin(free_port(), "--nodes", "2", stdin=subprocess.DEVNULL)
        with open(os.path.join(self.folder, "run", "node-2", "state", "lock"),
                  encoding="ascii") as file:
            os.kill(int(file.read()), signal.SIGKILL)
        self.assertEqual(process.wait(seconds(20)), 1)
        self.assertNobodyLeft(process)

    def test_a_port_that_is_taken_is_told_and_nothing_is_started(self):
        node = self.node().start()
        done = run("sh", RUN, "--no-install", "--no-build", "--port", str(node.port), "--dir",
                   os.path.join(self.folder, "run"), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"port {node.port} is taken", done.stderr)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "run")))

    def test_a_wrong_option_is_told(self):
        for words in (["--prot", "1"], ["--port"], ["--port", "x"], ["--port", "65536"], ["--dir"],
                      ["--nodes", "6"]):
            done = run("sh", RUN, *words, check=False)
            self.assertEqual(done.returncode, 2, words)
            self.assertIn(words[0], done.stderr)


if __name__ == "__main__":
    unittest.main()

"""tallyctl top on a real terminal, of several kinds and sizes: what it shows, what keys do, and what it leaves behind."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import unittest

from cluster import Cluster
from harness import AGICALL, TALLYCTL, call
from terminal import Terminal

BLOCKS = "▁▂▃▄▅▆▇█"


def figure(text, name):
    """The number behind a graph's name, or None."""
    found = re.search(rf"(?m)^{re.escape(name)} +([\d,.]+)", text)
    return float(found[1].replace(",", "")) if found else None


@unittest.skipUnless(shutil.which("tmux"), "tmux is not here")
class Top(Cluster):
    def top(self, node, columns=80, rows=24, env=None, before="trap : INT; echo before", after="exec cat"):
        command = f"{shlex.quote(TALLYCTL)} -d {shlex.quote(node.state)} top"
        terminal = Terminal(f"{before}; {command}; echo left with $?; {after}", columns, rows, env)
        self.addCleanup(terminal.close)
        return terminal

    def load(self, node, name, rate):
        load = subprocess.Popen([AGICALL, "--load", "--duration", "120s", "--rate", str(rate), "--expect", "close",
                                 node.url("count"), name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(load.wait)
        self.addCleanup(load.kill)
        return load

    def left(self, terminal):
        """It has ended: its code. What the terminal showed before is there again, and nothing of the screen."""
        text = terminal.shows(lambda text: "left with" in text and text)
        self.assertTrue(text.startswith("before\n"), text)
        self.assertNotIn("calls/s", text)
        return int(re.search(r"left with (\d+)", text)[1])

    def test_a_cluster_under_load_is_shown_at_every_size(self):
        a, b, c = self.cluster()
        call(a, "count", ["quiet"])
        narrow, wide = self.top(a), self.top(a, 160, 50)
        self.load(a, "votes", 100)
        self.load(b, "tickets", 40)
        for terminal, columns, rows in ((narrow, 80, 24), (wide, 160, 50)):
            text = terminal.shows(lambda text: 70 < (figure(text, "calls/s") or 0) < 130 and
                                  100 < (figure(text, "all nodes/s") or 0) < 180 and
                                  re.search(r"(?m)^tickets +\S+ +[34]\d", text) and
                                  re.search(r"answer p99 +[\d.]+ (µs|ms|s)", text) and text, 40)
            lines = text.split("\n")
            self.assertEqual(len(lines), rows)
            self.assertLessEqual(max(map(len, lines)), columns)
            self.assertRegex(lines[0], r"^ tally  n1   PROVISIONAL   up .*\d\d:\d\d:\d\d")
            self.assertEqual(lines[1].strip(), "OK: n1 counts, 2 of 2 peers are connected")
            self.assertRegex(text, r"(?m)^n2 +connected +\d")
            order = [text.index(f"\n{name} ") for name in ("votes", "tickets", "quiet")]
            self.assertEqual(order, sorted(order))
            self.assertTrue(any(block in text for block in BLOCKS))
        for columns, rows in ((160, 50), (20, 5), (80, 24)):
            narrow.resize(columns, rows)
            text = narrow.shows(lambda text: len(text.split("\n")) == rows and "calls/s" in text and
                                ("q quit" in text or rows == 5) and text)
            self.assertTrue(text.startswith(" tally  n1"), text)
        c.kill()
        narrow.shows(lambda text: "ATTENTION: peer n3" in text and "NOT REACHED" in text)

    def test_a_node_that_is_killed_is_waited_for(self):
        node = self.node(scripts="").start()
        terminal = self.top(node)
        self.load(node, "votes", 50)
        terminal.shows(lambda text: (figure(text, "calls/s") or 0) > 30)
        os.kill(node.state_pid(), signal.SIGKILL)
        terminal.shows(lambda text: "the state process was started again" in text)
        node.kill()
        gone = terminal.shows(lambda text: "NO ANSWER: the node does not run; last heard" in text and text)
        self.assertRegex(gone, r"(?m)^votes +\d")
        node.start()
        terminal.shows(lambda text: "OK: test counts" in text)
        self.load(node, "tickets", 20)
        terminal.shows(lambda text: re.search(r"(?m)^tickets +\d+ +[12]\d", text))
        terminal.type("q")
        self.assertEqual(self.left(terminal), 0)

    def test_a_process_that_does_not_answer_is_told_and_keys_still_work(self):
        node = self.node(scripts="").start()
        terminal = self.top(node)
        terminal.shows(lambda text: "OK: test counts" in text)
        state = node.state_pid()
        os.kill(state, signal.SIGSTOP)
        terminal.shows(lambda text: "NO ANSWER: the node runs, but does not answer" in text)
        terminal.type("?")
        terminal.shows(lambda text: "Keys and figures" in text, 5)
        os.kill(state, signal.SIGCONT)
        terminal.type("x")
        terminal.shows(lambda text: "OK: test counts" in text)

    def test_the_terminal_is_left_as_it_was(self):
        node = self.node(scripts="").start()
        for keys, number in ((("q",), None), (("C-c",), None), ((), signal.SIGTERM), ((), signal.SIGINT)):
            terminal = self.top(node)
            terminal.shows(lambda text: "OK: test counts" in text)
            if number:
                children = f"/proc/{terminal.pid()}/task/{terminal.pid()}/children"
                with open(children, encoding="ascii") as file:
                    os.kill(int(file.read()), number)
            else:
                terminal.type(*keys)
            self.assertEqual(self.left(terminal), 0)
            # What is typed is echoed, and the cursor is back.
            terminal.type("echoed")
            terminal.shows(lambda text: "\nechoed" in text)
            self.assertEqual(terminal.tmux("display-message", "-p", "#{cursor_flag}").strip(), "1")
            terminal.close()

    @unittest.skipUnless(shutil.which("bash"), "bash is not here")
    def test_a_shell_stops_it_and_lets_it_go_on(self):
        node = self.node(scripts="").start()
        terminal = Terminal("PS1='ready> ' exec bash --norc --noprofile -i")
        self.addCleanup(terminal.close)
        terminal.shows(lambda text: "ready>" in text)
        terminal.type(f"{TALLYCTL} -d {node.state} top", "Enter")
        terminal.shows(lambda text: "OK: test counts" in text)
        terminal.type("C-z")
        terminal.shows(lambda text: "Stopped" in text and "calls/s" not in text)
        terminal.resize(100, 30)
        terminal.type("fg", "Enter")
        text = terminal.shows(lambda text: "OK: test counts" in text and len(text.split("\n")) == 30 and text)
        self.assertIn("q quit", text.split("\n")[-1])
        terminal.type("q")
        terminal.shows(lambda text: "calls/s" not in text and text.rstrip().endswith("ready>"))

    def test_keys_sort_choose_hold_and_explain(self):
        node = self.node(scripts="").start()
        for name, by in (("a-1", 5), ("b-1", 7), ("b-2", 6)):
            call(node, "count", [name, f"by={by}"])
        terminal = self.top(node)
        names = lambda text: [name for name in re.findall(r"(?m)^(\S+) .*", text.partition("\ncounter")[2])
                              if "-" in name]
        terminal.shows(lambda text: names(text) == ["b-1", "b-2", "a-1"])
        terminal.type("s", "s")
        terminal.shows(lambda text: "sort: name" in text and names(text) == ["a-1", "b-1", "b-2"])
        terminal.type("/", "b", "-", "x", "BSpace", "2")
        terminal.shows(lambda text: names(text) == ["b-2"] and "counters' names: b-2_" in text)
        terminal.type("Enter")
        terminal.shows(lambda text: "filter: b-2" in text)
        terminal.type("Escape")
        terminal.shows(lambda text: names(text) == ["a-1", "b-1", "b-2"])
        terminal.type("p")
        held = terminal.shows(lambda text: "PAUSED" in text and text)
        call(node, "count", ["c-1"])
        other, clocks = self.top(node), set()
        other.shows(lambda text: "c-1" in names(text))
        other.shows(lambda text: clocks.add(text.split("\n")[0][-8:]) or len(clocks) > 2)
        self.assertEqual(terminal.text(), held)
        terminal.type("p")
        terminal.shows(lambda text: "PAUSED" not in text and "c-1" in names(text))
        terminal.type("?")
        terminal.shows(lambda text: "Keys and figures" in text)
        terminal.type("q")
        terminal.shows(lambda text: "Keys and figures" not in text and "q quit" in text)

    def test_without_colours_utf8_or_a_cursor_it_says_the_same(self):
        node = self.node(scripts="").start()
        self.load(node, "votes", 50)
        colours = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
        well = lambda text: "OK: test counts" in text and (figure(text, "calls/s") or 0) > 30
        for env, coloured, ascii_only in (({}, True, False), ({"NO_COLOR": "1"}, False, False),
                                          ({"TERM": "vt100", "LC_ALL": "C"}, False, True),
                                          ({"TERM": "linux"}, True, True)):
            terminal = self.top(node, env=env)
            terminal.shows(well)
            terminal.shows(lambda text: any(sign in text for sign in ("###" if ascii_only else BLOCKS)))
            self.assertEqual(terminal.text().isascii(), ascii_only, env)
            self.assertEqual(bool(colours.search(terminal.looks())), coloured, env)
            terminal.type("q")
            terminal.close()
        for kind in ("dumb", "unheard-of", ""):
            terminal = self.top(node, env={"TERM": kind}, rows=60)
            terminal.shows(well)
            self.assertNotIn("\x1b", terminal.looks())
            terminal.type("C-c")
            terminal.shows(lambda text: "left with" in text)
            terminal.close()

    def test_without_a_terminal_it_says_what_is_for_programs(self):
        node = self.node(scripts="").start()
        for words in ((), ("--json",)):
            done = node.ctl(*words, "top", check=False)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn("--json status", done.stderr)
        node.stop()
        terminal = self.top(node)
        text = terminal.shows(lambda text: "left with" in text and text)
        self.assertIn("not running", text)
        self.assertIn("left with 3", text)


if __name__ == "__main__":
    unittest.main()

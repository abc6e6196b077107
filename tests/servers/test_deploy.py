"""What deploy/ ships to be changed by an admin: tally.conf with its set-ups, cluster.conf, and what CLUSTER.md says of
tallyctl. That its commands do what it says is tests/package/test_cluster_page.py's."""

import os
import re
import unittest

from harness import ROOT, TALLYCTL, TALLYD, ServerTest, run


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def uncomment(text):
    """Without the # of lines that are settings: prose has a blank behind it."""
    return re.sub(r"(?m)^#(?=[\[a-z])", "", text)


class TallyConf(ServerTest):
    def setUp(self):
        super().setUp()
        self.text = read("deploy", "tally.conf")
        begin, *parts = re.split(r"(?m)^# ==== (?:Set-up: )?(.*)\n", self.text)
        self.begin, self.set_ups = begin, dict(zip(parts[::2], parts[1::2]))
        name = next(name for name in self.set_ups if name.startswith("The nodes of a cluster"))
        self.below = self.set_ups.pop(name)

    def check(self, text):
        path = os.path.join(self.folder, "tally.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return run(TALLYD, "-n", "-c", path, check=False), path

    def key(self, name):
        """A new node's, as `tallyd -k` tells it."""
        path = os.path.join(self.folder, f"{name}.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"[node]\nstate = {name}\n")
        return re.search(r"(?m)^key +(\w{64})$", run(TALLYD, "-c", path, "-k").stdout)[1]

    def test_as_shipped_it_is_good_and_nobody_else_reaches_the_node(self):
        done, path = self.check(self.text)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        in_force = run(TALLYCTL, "config", "show", path).stdout
        ours = re.findall(r"(?m)^(?:listen|allow|peer-listen) = (\S+)", in_force)
        self.assertEqual(set(ours), {"127.0.0.1:4573", "127.0.0.0/8", "::1/128"}, in_force)

    def test_every_set_up_is_good_once_its_lines_are_uncommented_and_the_keys_are_in(self):
        self.assertEqual(len(self.set_ups), 4)
        nodes = uncomment(self.below)
        for name, lines in self.set_ups.items():
            with self.subTest(set_up=name):
                text = self.begin + uncomment(lines)
                if "the nodes, below" in lines:
                    done, _ = self.check(text + nodes)
                    self.assertEqual(done.returncode, 2)
                    self.assertRegex(done.stderr, r"tally\.conf:\d+: key = KEY-OF-tally-1: expected the 64 "
                                                  r"hexadecimal digits that tallyd -k tells on that node")
                    text += re.sub(r"KEY-OF-([\w-]+)", lambda m: self.key(m[1]), nodes)
                done, path = self.check(text)
                self.assertEqual((done.returncode, done.stderr), (0, ""), text)
                in_force = run(TALLYCTL, "config", "show", path).stdout
                for setting in re.findall(r"(?m)^#([a-z-]+ = .*)", lines):
                    self.assertRegex(in_force.replace("/32", ""), rf"(?m)^{re.escape(setting)}\b")

    def test_what_is_commented_out_has_its_default_and_is_explained(self):
        rows = re.findall(r'\{"(\w+)", "([\w-]+)", &\w+,[^{}]*?(NULL|"[^"]*")\}', read("common", "conf.c"))
        defaults, section, above, seen = {row[:2]: row[2].strip('"') for row in rows}, "", "", 0
        for line in self.begin.splitlines():
            section = line[1:-1] if re.match(r"\[\w+\]$", line) else section
            setting = re.match(r"#([a-z-]+) = (.*)", line)
            if setting and setting[1] != "step":
                default = defaults[section, setting[1]]
                self.assertIn(default, (setting[2], "", "NULL"), line)
                seen += default == setting[2]
            if re.match(r"#?[a-z-]+ = ", line) and "step" not in line:
                self.assertRegex(above, r"^# |^allow = ", line)
            above = line
        self.assertGreaterEqual(seen, 2)


class ClusterConf(unittest.TestCase):
    def test_with_a_key_left_out_it_is_refused_and_nothing_is_begun(self):
        path = os.path.join(ROOT, "deploy", "cluster.conf")
        for words in (["-n"], []):
            done = run(TALLYD, "-c", path, *words, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertRegex(done.stderr, r"cluster\.conf:\d+: key = KEY-OF-tally-1: expected the 64 "
                                          r"hexadecimal digits that tallyd -k tells on that node")
        self.assertFalse(os.path.exists("/var/lib/tally"))


class ClusterPage(unittest.TestCase):
    def test_the_states_of_the_page_are_those_that_tallyctl_tells(self):
        rows = re.findall(r"(?m)^\| (`.*`) \|", read("deploy", "CLUSTER.md"))
        program = read("replica", "ctl_state.c")
        self.assertEqual(len(rows), 7)
        for row in rows:
            for state in re.findall(r"`(.*?)`", row):
                for piece in re.split(r"\.\.\. |\bN\b", state):
                    self.assertIn(piece, program)


if __name__ == "__main__":
    unittest.main()

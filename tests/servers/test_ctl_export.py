"""tallyctl export and config: the audit trail for a spreadsheet, and tally.conf looked at before it is read."""

import csv
import io
import json
import os
import re
import unittest

from cluster import Cluster
from harness import ROOT, TALLYCTL, TALLYD, call, eventually, run

COLUMNS = "stream,node,block,time,counter,amount,number,numbers,id,tag".split(",")


class Export(Cluster):
    def test_csv_and_json_say_what_log_says(self):
        node = self.node(scripts="").start()
        for tag in ("web", 'a "b", c', "=1+1", "\u00fc;\u202e"):
            call(node, "count", ["votes", "by=2", "tag=" + tag])
        call(node, "count", ["hits"])
        log = [json.loads(line) for line in node.ctl("--json", "log").stdout.splitlines()]
        for _ in range(2):
            text = node.ctl("export", "--utc").stdout
            self.assertEqual(text.splitlines()[0], ",".join(COLUMNS))
            rows = list(csv.DictReader(io.StringIO(text)))
            self.assertEqual(len(rows), len(log))
            for row, line in zip(rows, log):
                for name in COLUMNS:
                    if name != "time":
                        self.assertEqual(row[name], str(line[name]), name)
                self.assertRegex(row["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            for words in (["export", "--format", "json"], ["--json", "export"], ["export", "--format=json"]):
                self.assertEqual([json.loads(line) for line in node.ctl(*words).stdout.splitlines()], log)
            some = node.ctl("export", "--counter", "hits", "--node", "te?t", "--since", "1h").stdout
            self.assertEqual(len(some.splitlines()), 2)
            if node.pids("state"):
                node.kill()
        shown = run("script", "-qc", f"{TALLYCTL} -d {node.state} export", "/dev/null",
                    env={"PATH": os.environ["PATH"], "LC_ALL": "C"}).stdout
        self.assertIn('"\\xc3\\xbc;\\xe2\\x80\\xae"', shown)

    def test_an_export_of_a_cluster_names_every_node(self):
        members = self.cluster()
        for member in members:
            call(member, "count", ["votes"])
        eventually(lambda: all('"total":3' in m.counters() for m in members), 10, "all have all")
        for member in members:
            rows = list(csv.DictReader(io.StringIO(member.ctl("export").stdout)))
            self.assertEqual({row["node"] for row in rows}, {"n1", "n2", "n3"})
            self.assertEqual({row["numbers"] for row in rows}, {"PROVISIONAL"})

    def test_wrong_options_are_refused(self):
        node = self.node(scripts="").start()
        for words, said in ((["--format", "xml"], "one of: csv json"), (["--since", "x"], "expected a time"),
                            (["--json", "--format", "csv"], "contradict"), (["votes"], "too many"),
                            (["--follow"], "does not take --follow")):
            done = node.ctl("export", *words, check=False)
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
            self.assertIn(said, done.stderr)


class Config(Cluster):
    def test_each_value_and_where_it_comes_from_is_shown(self):
        node = self.node(fastagi="answer-time = 3s")
        values = {}
        for line in run(TALLYCTL, "-c", node.conf, "--json", "config", "show").stdout.splitlines():
            value = json.loads(line)
            values.setdefault((value["section"], value["name"]), value)
        with open(os.path.join(ROOT, "common", "conf.c"), encoding="utf-8") as file:
            rows = re.findall(r'\{"(\w+)", "([\w-]+)", &\w+,', file.read())
        for row in rows:
            self.assertIn(row, values)
        with open(node.conf, encoding="utf-8") as file:
            lines = file.read().splitlines()
        said = values["fastagi", "answer-time"]
        self.assertEqual((said["value"], said["file"], lines[said["line"] - 1]),
                         ("3s", node.conf, "answer-time = 3s"))
        self.assertNotIn("line", values["fastagi", "greeting-time"])
        text = run(TALLYCTL, "config", "show", node.conf).stdout
        self.assertRegex(text, rf"(?m)^answer-time = 3s +; line {said['line']}$")
        self.assertRegex(text, r"(?m)^greeting-time = 5s +; default$")
        self.assertIn("[script fast]\nstep = answer", text)

    def test_check_finds_what_tallyd_finds(self):
        node = self.node()
        self.assertEqual(run(TALLYCTL, "config", "check", node.conf).stdout, f"{node.conf}: good\n")
        for bad in ("[fastagi]\nworkers = many\n", "[script x]\nstep = answr\n", "[peer b]\nkey = 12\n",
                    "[node]\nuser = \033[2J\n"):
            with open(node.conf, "w", encoding="utf-8") as file:
                file.write(f"[node]\nname = x\nstate = s\n{bad}")
            done = run(TALLYCTL, "-c", node.conf, "config", "check", check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertEqual(done.stderr, "tallyctl: " + run(TALLYD, "-n", "-c", node.conf, check=False).stderr)
            self.assertEqual(run(TALLYCTL, "config", "show", node.conf, check=False).returncode, 1)

    def test_wrong_words_are_refused(self):
        for words, said in ((["config"], "needs more"), (["config", "chekc"], "expected check or show"),
                            (["-d", "x", "config", "show"], "about a file"),
                            (["-c", "x", "config", "show", "y"], "two files"),
                            (["config", "show", "a", "b"], "too many")):
            done = run(TALLYCTL, *words, check=False)
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
            self.assertIn(said, done.stderr)
        done = run(TALLYCTL, "config", "check", "/nonexistent/tally.conf", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("No such file", done.stderr)


if __name__ == "__main__":
    unittest.main()

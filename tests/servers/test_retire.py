"""tallyctl retire: a counter is left out of lists until it is counted again; nothing that a caller gets is different."""

import json
import re
import unittest

from cluster import Cluster
from harness import ServerTest, call


class Retire(ServerTest):
    def counted(self):
        node = self.node(scripts="").start()
        for name in ("hits", "old-1", "old-1", "old-2"):
            call(node, "count", [name])
        return node

    def names(self, node, *words):
        return [json.loads(line)["name"] for line in node.ctl("--json", "counters", *words).stdout.splitlines()]

    def test_it_is_left_out_of_lists_and_nothing_else(self):
        node = self.counted()
        self.assertEqual(node.ctl("retire", "old-1", "old-2").stdout,
                         "old-1 is now retired at 2: counted again, it shows again\n"
                         "old-2 is now retired at 1: counted again, it shows again\n")
        self.assertEqual(self.names(node), ["hits"])
        self.assertEqual(self.names(node, "--all"), ["hits", "old-1", "old-2"])
        self.assertRegex(node.ctl("counters", "--all", "old*").stdout, r"(?m)^old-1 +2 retired$")
        self.assertEqual(node.ctl("get", "old-1").stdout, "2\n")
        self.assertEqual(call(node, "get", ["old-1"]).variables["TALLY_TOTAL"], "2")
        self.assertEqual(node.ctl("counters", "old*", check=False).returncode, 1)
        self.assertEqual(call(node, "count", ["old-1"]).number, 3)
        self.assertEqual(self.names(node), ["hits", "old-1"])

    def test_it_stands_over_restarts_with_and_without_a_checkpoint_and_in_the_files(self):
        node = self.counted()
        node.ctl("retire", "old-1")
        node.kill()
        self.assertEqual(self.names(node), ["hits", "old-2"])
        node.start()
        self.assertEqual(self.names(node), ["hits", "old-2"])
        node.stop()
        self.assertEqual(self.names(node), ["hits", "old-2"])
        node.start()
        self.assertEqual(self.names(node), ["hits", "old-2"])
        node.ctl("verify")
        node.ctl("retire", "--undo", "old-1")
        self.assertEqual(self.names(node), ["hits", "old-1", "old-2"])

    def test_the_log_says_who_did_it_and_why_and_it_is_no_count(self):
        node = self.counted()
        node.ctl("retire", "old-1", "--reason", "last month")
        node.ctl("retire", "old-1", "--undo")
        said = node.ctl("log", "--counter", "old-1").stdout.splitlines()
        self.assertRegex(said[-2], r" old-1 +retire +2 FINAL last month$")
        self.assertRegex(said[-1], r" old-1 +show +2 FINAL *$")
        lines = [json.loads(line) for line in node.ctl("--json", "log", "--counter", "old-1").stdout.splitlines()]
        self.assertEqual([(row.get("op"), row["amount"], row["number"]) for row in lines],
                         [(None, 1, 1), (None, 1, 2), ("retire", 0, 2), ("show", 0, 2)])
        self.assertEqual(len(node.ctl("export", "--counter", "old-1").stdout.splitlines()), 3)
        self.assertRegex(node.ctl("verify").stdout, r"(?m)^read: counts 4,")

    def test_what_is_so_already_and_what_makes_no_sense(self):
        node = self.counted()
        node.ctl("retire", "old-1")
        blocks = re.search(r"blocks (\d+)", node.ctl("verify").stdout).group(1)
        self.assertIn("old-1 was already retired at 2", node.ctl("retire", "old-1").stdout)
        self.assertIn("hits is shown at 1", node.ctl("retire", "--undo", "hits").stdout)
        self.assertEqual(re.search(r"blocks (\d+)", node.ctl("verify").stdout).group(1), blocks, "nothing was logged")
        for words, code, said in ((["none"], 1, "nothing was ever counted"), (["old-3"], 1, "did you mean old-"),
                                  ([], 2, "needs more"), (["a/b"], 2, "counter's name"),
                                  (["hits", "--reason", "x" * 65], 2, "at most 64 bytes"),
                                  (["hits", "--limit", "1"], 2, "does not take")):
            done = node.ctl("retire", *words, check=False)
            self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
            self.assertIn(said, done.stderr)
        node.stop()
        done = node.ctl("retire", "hits", check=False)
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn("does not run", done.stderr)

    def test_more_that_are_retired_than_one_answer_looks_at_hide_none_behind_them(self):
        node = self.counted()
        names = [f"a{i:05d}" for i in range(1200)]
        for name in names:
            call(node, "count", [name])
        for at in range(0, len(names), 300):
            node.ctl("retire", *names[at:at + 300])
        self.assertEqual(self.names(node), ["hits", "old-1", "old-2"])
        self.assertEqual(len(self.names(node, "--all")), 1203)


class InACluster(Cluster):
    def shown(self, member):
        return member.ctl("counters", check=False).stdout.split()[::2]

    def test_it_reaches_all_nodes_and_what_was_counted_elsewhere_meanwhile_shows_it(self):
        a, b, c = self.cluster()
        for member in (a, b, c):
            member.count("old")
            member.count("hits")
        self.assertSame([a, b, c])
        a.ctl("retire", "old")
        self.assertSame([a, b, c])
        for member in (a, b, c):
            self.assertEqual(self.shown(member), ["hits"])
        b.ctl("retire", "--undo", "old")
        self.assertSame([a, b, c])
        for member in (a, b, c):
            self.assertEqual(self.shown(member), ["hits", "old"])
        # Apart, one counts and another retires.
        for member in (a, b):
            member.knows()
            member.kill()
            member.launch()
            self.wait_counting(member)
        a.ctl("retire", "old")
        self.assertEqual(self.shown(a), ["hits"])
        b.count("old")
        for member in (a, b):
            member.kill()
            member.knows(a, b, c)
            member.launch()
            self.wait_counting(member)
        self.assertSame([a, b, c])
        for member in (a, b, c):
            self.assertEqual(self.shown(member), ["hits", "old"])
            self.assertEqual(member.total("old"), 4)
        c.ctl("retire", "old")
        self.assertSame([a, b, c])
        for member in (a, b, c):
            self.assertEqual(self.shown(member), ["hits"])


if __name__ == "__main__":
    unittest.main()

"""A machine that was copied, with its key: both copies run. The others say so, and no count is lost."""

import os
import shutil
import unittest

from cluster import Cluster, Member
from harness import eventually

SEEN = 60  # seconds for which a copy is taken for alive that is not heard any more


class Copy(Member):
    """Another machine with a member's state directory, hence its key and its name."""

    def __init__(self, folder, original):
        shutil.copytree(original.state, os.path.join(folder, "state"),
                        ignore=shutil.ignore_patterns("ipc"))
        super().__init__(folder, original.name)


class CloneTest(Cluster):
    def copied(self):
        """Three members, the last of which was stopped and copied: both copies run, and the others know
        the original's address."""
        a, b, c = self.cluster(start=False)
        for member in (a, b, c):
            member.launch()
        for member in (a, b, c):
            self.wait_counting(member)
        c.count("load")
        self.assertSame([a, b, c])
        c.stop()
        copy = Copy(os.path.join(self.folder, "copy"), c)
        self.nodes.append(copy)
        self.assertEqual(copy.key, c.key)
        copy.knows(a, b)
        c.launch()
        self.wait_counting(c)
        copy.launch()
        self.wait_counting(copy)
        return a, b, c, copy

    def alarmed(self, member, name="n3"):
        return member.peer(name)["rivals"]

    def test_a_copied_machine_is_an_alarm_until_the_copy_ends(self):
        a, b, c, copy = self.copied()
        for member in (a, b):
            eventually(lambda: self.alarmed(member), 15, f"{member.name} says so")
            member.wait_log(r"alarm: peer n3: another process with its key is alive.*tallyd -k", 1)
            self.assertRegex(member.ctl("peers").stdout, r"(?m)^n3 .*COPIED")
            status = member.ctl("status", check=False)
            self.assertIn("COPIED", status.stdout)
            self.assertEqual(status.returncode, 1)
            self.assertEqual(member.status()["peers"]["rivals"], 1)
            self.assertRegex(member.peer("n3")["rival_from"], r"^127\.0\.0\.1:\d+$")
        self.assertFalse(self.alarmed(c, "n1") or self.alarmed(c, "n2"))
        # The node that was copied is told.
        eventually(lambda: c.status()["peers"]["copied"], 5, "the original knows")
        c.wait_log(r"alarm: another process with this node's key is alive", 1)
        self.assertIn("COPIED", c.ctl("status", check=False).stdout)
        # The original is not disturbed.
        c.count("load")
        eventually(lambda: a.total("load") == 2, 5, "what the original counts is heard")
        self.assertEqual(a.log().count("alarm:"), 1, "once a case")
        copy.stop()
        for member in (a, b):
            eventually(lambda: not self.alarmed(member), SEEN + 15, "the alarm goes")
            self.assertNotIn("COPIED", member.ctl("status").stdout)
        eventually(lambda: not c.status()["peers"]["copied"], 10, "and hears that it is over")

    def test_what_both_copies_count_stands_once_each_was_reached(self):
        a, b, c, copy = self.copied()
        for _ in range(3):
            self.assertEqual(c.count("load")["TALLY_STATUS"], "PROVISIONAL")
        for _ in range(50):
            self.assertEqual(copy.count("load")["TALLY_STATUS"], "PROVISIONAL")
        eventually(lambda: a.total("load") == 4, 10, "the original is heard")
        # Its address now leads to the copy.
        moved = ("n3", copy.address, c.key)
        a.knows(b, moved).reload()
        b.knows(a, moved).reload()
        self.assertSame([a, b, copy])
        self.assertEqual(a.total("load"), 54)
        # And back, to who has counted on meanwhile.
        c.count("load")
        a.knows(b, c).reload()
        b.knows(a, c).reload()
        self.assertSame([a, b, c])
        self.assertEqual([m.total("load") for m in (a, b, c)], [55] * 3)
        eventually(lambda: self.alarmed(a) and self.alarmed(b), 15, "both have noticed")
        for member in (c, copy):
            member.stop()

    def test_a_node_that_is_killed_and_started_again_and_again_is_no_copy(self):
        a, b, c = self.cluster()
        for _ in range(8):
            c.kill()
            c.launch()
            self.wait_counting(c)
            eventually(lambda: a.peer("n3")["connected"] and b.peer("n3")["connected"], 15,
                       "it is connected again")
            self.assertFalse(self.alarmed(a) or self.alarmed(b))
        for _ in range(4):  # and its state process alone
            state = c.state_pid()
            os.kill(state, 9)
            c.state_pid(other_than=state)
            self.wait_counting(c)
        self.assertSame([a, b, c])
        for member in (a, b):
            self.assertFalse(self.alarmed(member))
            self.assertNotIn("alarm:", member.log())


if __name__ == "__main__":
    unittest.main()

"""A machine that was copied, with its key: both copies run. The others say so, and no count is lost. Or its memory was
copied, too: then one stream has two writers, and what each has counted stands where it was counted, until people help."""

import json
import os
import shutil
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from cluster import Cluster, Member
from harness import BIN, call, eventually, run

SEEN = 60  # seconds for which a copy is taken for alive that is not heard any more
STEPS, ROUNDS = 100, 350  # together several MiB of log


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


class Forked(Cluster):
    """The third of three nodes counted once more, and so did, in the same stream, a resumed snapshot of it."""

    def setUp(self):
        super().setUp()
        steps = "".join(f"step = count {'filled'.ljust(60, 'x')}{i:03} tag={'y' * 60}\n" for i in range(STEPS))
        self.a, self.b, self.c = self.cluster(log="segment-size = 1m\ncheckpoint-size = 1m",
                                              scripts=f"[script fill]\n{steps}")

    def resume(self, state):
        self.assertEqual(run(os.path.join(BIN, "resume"), state, "load", "1").stdout, "4\n")

    def forget_log(self):
        """The others count until their logs do not reach back any more to what they have heard of the third."""
        for member, other in ((self.a, self.b), (self.b, self.a)):
            member.knows(other).reload()
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda _: call(self.a, "fill", limit=60), range(ROUNDS)))
        self.wait_same([self.a, self.b])
        eventually(self.is_cut, 30, "the logs were cut")
        for member in (self.a, self.b):
            member.knows(self.a, self.b, self.c).reload()

    def is_cut(self):
        """A log is cut behind a checkpoint, as far as no peer lacked it then: the next one cuts what the last had to keep."""
        self.a.count("more")
        self.wait_same([self.a, self.b])
        for member in (self.a, self.b):
            member.ctl("checkpoint")
        return all(member.status()["log"]["first"] > 0 for member in (self.a, self.b))

    def stuck(self):
        """Nodes a and b have what the one has counted, and c is the other, and lacks what their logs no longer have."""
        a, b, c = self.a, self.b, self.c
        for _ in range(3):
            c.count("load")
        self.assertSame([a, b, c])
        c.kill()
        snapshot = os.path.join(self.folder, "snapshot")
        self.copied = time.time() * 1000
        shutil.copytree(c.state, snapshot, ignore=shutil.ignore_patterns("ipc"))
        for state in (c.state, snapshot):
            self.resume(state)
        c.launch()
        eventually(lambda: a.total("load") == b.total("load") == 4, 20, "the one is heard")
        c.stop()
        shutil.rmtree(c.state)
        shutil.copytree(snapshot, c.state)
        self.forget_log()
        c.launch()
        c.wait_serving()
        eventually(lambda: c.status()["stuck"] == "fork", 60, "it says that it is stuck")

    def test_a_node_that_is_stuck_says_what_to_do_and_that_cures_it(self):
        self.stuck()
        a, b, c = self.a, self.b, self.c
        self.assertEqual(c.count("load")["TALLY_NUMBER"], "5", "it counts on, by what it has")
        eventually(lambda: a.total("load") == 5, 10, "and that is heard")
        stream = c.status()["stuck_stream"]
        said = c.ctl("status", check=False)
        self.assertEqual(said.returncode, 1)
        words = " ".join(said.stdout.split())
        self.assertIn("this node does not catch up by itself: peers' checkpoints would take the place of "
                      f"what it holds of stream {stream}, which forks", words)
        self.assertIn("save what it has with tallyctl export; stop tallyd, move the folder log out of its "
                      "state directory, start it, and wait until it has caught up; then put back by tallyctl "
                      "add what the export has of that stream since its machine was copied", words)
        self.assertRegex(c.log(), "alarm: a peer's checkpoint contradicts this node's log, because a stream forks")
        # What it says is done, as it stands there.
        counts = [json.loads(line) for line in
                  c.ctl("export", "--format", "json").stdout.splitlines()]
        only = sum(count["amount"] for count in counts
                   if count["stream"] == stream and count["time_ms"] >= self.copied)
        c.stop()
        shutil.move(os.path.join(c.state, "log"), os.path.join(self.folder, "aside"))
        c.launch()
        self.wait_counting(c, 60)
        c.ctl("add", "load", str(only), "--reason", "counted behind a fork")
        self.wait_same([a, b, c])
        self.assertEqual([m.total("load") for m in (a, b, c)], [6] * 3, "each was counted once")
        self.assertIsNone(c.status()["stuck"])
        self.assertNotIn("does not catch up", c.ctl("status", check=False).stdout)


if __name__ == "__main__":
    unittest.main()

"""Answers that wait until other nodes hold the count: whole clusters on loopback whose nodes lose peers and disks."""

import os
import random
import shutil
import signal
import time
import unittest

from harness import LONG, Callers, call, eventually
from test_cluster import Cluster

LOSSES = 20 if LONG else 3
KILLS = 12 if LONG else 4


class Copies(Cluster):
    def trio(self, more=""):
        members = self.cluster(start=False)
        for member in members:
            member.more = f"copies = 2\n{more}"
            member.write_conf()
            member.launch()
        for member in members:
            self.wait_counting(member)
        self.wait_copies(members[0])
        return members

    def wait_copies(self, member, to_be_had=True):
        eventually(lambda: member.status()["copies"]["to_be_had"] == to_be_had, 20,
                   f"copies for {member.name}: {to_be_had}")

    def lose_disk(self, member):
        """Every process of it dies at one moment, and its log is gone."""
        member.kill()
        shutil.rmtree(os.path.join(member.state, "log"))

    def test_what_was_answered_outlives_the_disk_of_the_node_that_answered(self):
        members = self.trio()
        a, b, c = members
        numbers, asked = [], 0
        for turn in range(LOSSES):
            stopped = (b, c)[turn % 2]
            with Callers(a, threads=8) as callers:
                eventually(lambda: len(callers.calls) > 50, 30, "calls are answered")
                os.kill(stopped.state_pid(), signal.SIGSTOP)
                # Under load with one peer silent: any time will do.
                time.sleep(random.uniform(0.05, 0.5))
                self.lose_disk(a)
            os.kill(stopped.state_pid(), signal.SIGCONT)
            numbers += callers.numbers()
            asked += len(callers.calls)
            eventually(lambda: b.counters() == c.counters(), 30, "the others have the same")
            self.assertGreaterEqual(b.total("load"), len(numbers), "counts that were answered")
            self.assertEqual(len(set(numbers)), len(numbers), "no number twice")
            self.assertLessEqual(max(numbers), b.total("load"), "the numbers are those of the others")
            a.launch()
            self.wait_counting(a)
            self.wait_copies(a)
        self.assertSame(members)
        self.assertGreaterEqual(a.total("load"), len(numbers))
        # A call that broke off was counted or not, and a worker takes a few before its first command.
        self.assertLessEqual(a.total("load"), asked + LOSSES * 16)

    def test_one_peer_of_two_may_be_away_and_no_call_notices(self):
        a, b, c = self.trio()
        load = self.load(a, calls=4000)
        for turn in range(KILLS):
            member, before = (b, c)[turn % 2], len(a.log())
            member.kill()
            time.sleep(random.uniform(0, 0.3))
            member.launch()
            self.wait_counting(member)
            # Not what status says of it: for some seconds that is of its life before.
            a.wait_log(f"peer {member.name}: connected", 20, before)
            eventually(lambda: a.peer(member.name)["behind"] == 0, 20, "it has caught up")
        code, result = load.result()
        self.assertEqual((code, result["failed"]), (0, 0), result)
        self.assertEqual(sorted(load.numbers()), list(range(1, 4001)))
        self.assertSame([a, b, c])

    def test_no_call_fails_while_the_state_process_is_killed_again_and_again(self):
        # Until its peers have found it again, a node that starts keeps callers waiting, for so long at most.
        a, b, c = self.trio(more="copies-wait = 5s")
        load, pid = self.load(a, calls=4000), None
        for _ in range(KILLS):
            pid = a.state_pid(other_than=pid)
            time.sleep(random.uniform(0, 0.5))
            os.kill(pid, signal.SIGKILL)
        code, result = load.result()
        self.assertEqual((code, result["failed"]), (0, 0), result)
        self.assertEqual(sorted(load.numbers()), list(range(1, 4001)))
        self.assertSame([a, b, c])

    def test_without_peers_calls_are_refused_and_nothing_is_counted(self):
        a, b, c = self.trio()
        self.assertEqual(a.count("load")["TALLY_NUMBER"], "1")
        for member in (b, c):
            member.kill()
        heard = a.count("load")
        self.assertEqual(heard["TALLY_STATUS"], "UNKNOWN", "nobody knew yet that they are gone")
        heard = a.count("load")
        self.assertEqual(heard["TALLY_STATUS"], "UNAVAILABLE")
        self.assertEqual(a.total("load"), 2)
        self.assertFalse(a.status()["copies"]["to_be_had"])
        said = a.ctl("status", check=False)
        self.assertEqual(said.returncode, 1)
        self.assertRegex(said.stdout, r"^NOT OK: new counts are refused.*\n.*tallyctl peers")
        eventually(lambda: "copies = 2, and 1 nodes are connected" in
                   a.ctl("status", check=False).stdout, 20,
                   "they are known to be gone")
        a.wait_log(r"warn: copies = 2\b.*new counts are refused until")
        self.assertEqual(call(a, "get", ["load"]).variables["TALLY_TOTAL"], "2")
        b.launch()
        self.wait_copies(a)
        self.assertEqual(a.count("load")["TALLY_NUMBER"], "3")
        self.assertNotIn("NOT OK", a.ctl("status", check=False).stdout)
        a.wait_log(r"info: copies = 2 can be had: counting")
        c.start()
        self.assertSame([a, b, c])

    def test_a_repeat_says_the_number_once_the_copies_are_there(self):
        a, b, c = self.trio()
        a.count("load")
        for member in (b, c):
            os.kill(member.state_pid(), signal.SIGSTOP)
        heard = call(a, "count", ["load", "id=one"]).variables
        self.assertEqual(heard["TALLY_STATUS"], "UNKNOWN")
        a.kill()
        a.launch()
        os.kill(b.state_pid(), signal.SIGCONT)
        self.wait_copies(a)
        heard = call(a, "count", ["load", "id=one"]).variables
        self.assertEqual((heard["TALLY_STATUS"], heard["TALLY_NUMBER"]), ("PROVISIONAL", "2"))
        os.kill(c.state_pid(), signal.SIGCONT)
        self.assertSame([a, b, c])

    def test_sighup_changes_the_number_of_copies_and_a_wrong_one_is_refused(self):
        a, b, c = self.trio()
        state = a.state_pid()
        for member in (b, c):
            member.kill()
        a.more = "copies = 4"
        a.knows(a, b, c).reload()
        a.wait_log(r"tally\.conf:5: copies = 4: expected at most 3")
        a.wait_log(r"the configuration in force stays")
        a.knows(a, b).more = "copies = 3"
        a.knows(a, b).reload()
        a.wait_log(r"copies = 3: expected at most 2")
        self.assertEqual(a.status()["copies"]["wanted"], 2)
        a.more = "copies = 1"
        a.knows(a, b).reload()
        eventually(lambda: a.status()["copies"]["wanted"] == 1, 10, "it is in force")
        self.assertEqual(a.count("load")["TALLY_NUMBER"], "1")
        self.assertEqual(a.state_pid(), state)

    def test_a_witness_is_copy_enough(self):
        a, b = self.cluster(2, start=False)
        b.member_workers, a.more = 0, "copies = 2"
        for member in (a, b):
            member.write_conf()
            member.launch()
        self.wait_counting(a)
        self.wait_copies(a)
        load = self.load(a, calls=1000)
        self.assertEqual(load.result()[0], 0)
        self.lose_disk(a)
        self.assertEqual(b.total("load"), 1000)
        self.assertEqual(sorted(load.numbers()), list(range(1, 1001)))


if __name__ == "__main__":
    unittest.main()

"""Clusters on hosts of their own, in network namespaces, over a network that is slow, lossy and cut: see netns.py."""

import time
import unittest

from cluster import CALLS, Cluster
from harness import eventually
from netns import ESTABLISHED, SYN_SENT, Net

PEER_PORT = 4574


class Networked(Cluster):
    def network(self, count, seed=0):
        self.net = Net(count, seed)
        self.addCleanup(self.net.close)
        return self.net

    def hosts(self, count=3, start=True, **settings):
        """A cluster with one host for each node."""
        net = self.network(count)
        members = [self.member(f"n{i + 1}", host=host, **settings)
                   for i, host in enumerate(net.hosts)]
        return self.acquainted(members, start)

    def wait_connected(self, members, limit):
        """Each to each; how many seconds it took."""
        begun = time.monotonic()
        eventually(lambda: all(m.status()["peers"]["connected"] == len(members) - 1
                               for m in members), limit, "all are connected")
        return time.monotonic() - begun

    def assertWent(self, loads):
        """No call failed. How many there were."""
        for load in loads:
            code, result = load.result()
            self.assertEqual((code, result["failed"]), (0, 0), result)
        return sum(load.calls for load in loads)


class Network(Networked):
    def test_nodes_far_apart_on_a_lossy_network_come_to_the_same_totals(self):
        members = self.hosts()
        self.net.all(delay=0.02, jitter=0.005, loss=0.03, duplicate=0.01, reorder=0.01)
        calls = self.assertWent([self.load(member) for member in members])
        self.assertSame(members)
        self.assertEqual(calls, 3 * CALLS)
        self.assertEqual(members[0].total("load"), calls)
        self.assertSameBytes(members)
        lost = sum(link["lost"] for link in self.net.figures()["links"])
        self.assertGreater(lost, 20, "packets were lost")
        self.assertNotRegex("".join(m.log() for m in members), r"state: (warn|error|alarm)")

    def test_nodes_that_are_apart_count_on_and_agree_when_they_meet(self):
        a, b, c = self.hosts()
        self.net.all(delay=0.01, loss=0.01)
        loads = [self.load(member, calls=1200, rate=120) for member in (a, b, c)]
        eventually(lambda: a.total("load") > 100, 10, "all count")
        self.net.isolate(c.host)
        eventually(lambda: not a.peer("n3")["connected"] and not c.peer("n1")["connected"], 10,
                   "the silence is noticed")
        for member in (a, c):
            before = member.total("load")
            eventually(lambda: member.total("load") > before + 50, 5, "both sides count on")
        self.assertLess(c.total("load"), a.total("load"))
        self.net.isolate(c.host, cut=False)
        calls = self.assertWent(loads)
        self.assertSame([a, b, c], 10)
        self.assertEqual(a.total("load"), calls)
        self.assertSameBytes([a, b, c])

    def test_a_third_node_passes_on_what_two_cannot_say_to_each_other(self):
        a, b, c = self.hosts()
        calls = 0
        for cut in (self.net.link, self.net.way):  # in both directions, and in one
            cut(a.host, b.host, cut=True)
            calls += self.assertWent([self.load(m, calls=700, rate=100) for m in (a, b, c)])
            self.assertFalse(a.peer("n2")["connected"] or b.peer("n1")["connected"])
            self.wait_same([a, b, c], 5)
            self.assertEqual([m.total("load") for m in (a, b, c)], [calls] * 3)
            cut(a.host, b.host, cut=False)
            self.wait_connected([a, b, c], 8)
        self.assertSame([a, b, c])
        self.assertSameBytes([a, b, c])

    def test_a_link_that_was_dead_for_long_is_back_within_seconds(self):
        """Nothing says that it is dead, and packets sent again come less and less often."""
        a, b = self.hosts(2)
        self.net.isolate(a.host)
        eventually(lambda: not any(remote == PEER_PORT and state == ESTABLISHED
                                   for m in (a, b) for _, remote, state in m.host.sockets()),
                   12, "connections that are not answered are given up")
        dials = set()

        def dialled():
            dials.update(local for local, remote, state in a.host.sockets()
                         if remote == PEER_PORT and state == SYN_SENT)
            return len(dials) >= 3
        eventually(dialled, 15, "dials that are not answered are given up")
        # The other end of a dead connection does not know, either, and must not keep it: there are
        # few places for each address.
        eventually(lambda: not any(local == PEER_PORT and state == ESTABLISHED
                                   for m in (a, b) for local, _, state in m.host.sockets()),
                   35, "connections over which nobody is heard are given up")
        self.assertEqual((a.count("load")["TALLY_NUMBER"], b.count("load")["TALLY_NUMBER"]),
                         ("1", "1"))
        self.net.isolate(a.host, cut=False)
        print("connected after", self.wait_connected([a, b], 8), "s")
        self.wait_same([a, b], 2)
        self.assertEqual(a.status()["peers"]["cut_off"], 0, "not taken for strangers")


if __name__ == "__main__":
    unittest.main()

"""deploy/CLUSTER.md and deploy/cluster.conf as an administrator uses them: on bare machines, by nothing but
what stands there."""

import os
import re
import unittest

from harness import ROOT, TALLYD, eventually, run
from machines import Machine
import manual
from manual import NAMES, Page, Site


class ThreeBareMachines(unittest.TestCase):
    """Every test begins and ends with three nodes that hold the same."""

    @classmethod
    def setUpClass(cls):
        cls.site = Site()
        cls.addClassCleanup(cls.site.close)
        cls.site.set_up()

    def count(self, name, times=1):
        for _ in range(times):
            self.site.machines[name].sh("agicall agi://127.0.0.1/count hits")

    def assertSame(self, total):
        site, wanted = self.site, str(total) if total else "tallyctl: nothing was ever counted under the name hits"
        try:
            eventually(lambda: set(site.totals().values()) == {wanted}, 30, f"{total} everywhere")
        except AssertionError as error:
            said = "".join(f"--- {name}\n" + machine.sh("tallyctl peers; tail -n 40 /var/log/tally.log", check=False)
                           for name, machine in site.machines.items())
            raise AssertionError(f"{error}: {site.totals()}\n{said}") from None
        for name in site.machines:
            eventually(lambda name=name: site.status(name)["peers"]["connected"] == len(site.machines) - 1,
                       10, f"{name} is connected to all")
            site.machines[name].sh("tallyctl verify")

    def total(self):
        """The same at all nodes."""
        totals = []

        def met():
            totals[:] = self.site.totals().values()
            return len(set(totals)) == 1
        eventually(met, 20, "the nodes have met")
        return int(totals[0]) if totals[0].isdigit() else 0

    def test_a_call_to_each_and_one_total(self):
        before = self.total()
        said = self.site.follow("Set up", "Start", 2)
        self.assertEqual([re.findall(r"SAY NUMBER (\d+)", text) for text in said],
                         [[str(before + n)] for n in (1, 2, 3)])
        for text in said:
            self.assertEqual(len(re.findall(r"(?m) connected\b", text)), 2, text)
        self.assertSame(before + 3)

    def test_tallyd_runs_as_its_user_and_reads_its_configuration_by_default(self):
        self.assertSame(self.total())
        for name in NAMES:
            said = self.site.machines[name].sh("ps -o user= -C tallyd; tallyctl status")
            self.assertRegex(said, rf"(?m)\A(tally\n)+OK: {name} counts, 2 of 2 peers are connected$")
            self.assertRegex(said, r"(?m)^numbers +PROVISIONAL$")

    def test_who_is_not_in_the_networks_of_the_firewall_is_not_let_in(self):
        site = self.site
        stranger = Machine(site.lan, "stranger", "198.51.100.9", os.path.join(site.folder, "stranger"))
        self.addCleanup(stranger.close)
        stranger.sh("ip route add 192.0.2.0/24 dev eth0")
        site.machines["tally-1"].sh("ip route add 198.51.100.0/24 dev eth0")
        knock = "import socket, sys; socket.create_connection(('192.0.2.1', int(sys.argv[1])), 1)"
        for port in (4573, 4574):
            with self.subTest(port=port):
                with self.assertRaisesRegex(AssertionError, "timed out|TimeoutError"):
                    stranger.sh(f'python3 -c "{knock}" {port}')
                site.machines["tally-2"].sh(f'python3 -c "{knock}" {port}')
        # It is the rule that keeps the stranger out.
        site.machines["tally-1"].sh("nft add table inet tally '{ flags dormant; }'")
        stranger.sh(f'python3 -c "{knock}" 4574')
        site.machines["tally-1"].sh("nft add table inet tally")

    def test_a_node_more_and_a_node_less(self):
        site = self.site
        self.count("tally-1")
        before = self.total()
        state = site.status("tally-1")["pid"]
        site.machine("tally-4", "192.0.2.4")
        site.follow("Set up", "Install", on=["tally-4"])
        site.follow("Set up", "Firewall", on=["tally-4"])
        site.follow("Change the file", "A node more:")
        site.follow("Set up", "Keys")
        site.follow("Set up", "Bring the file")
        site.follow("Change the file")
        site.follow("Set up", "Start", on=["tally-4"])
        site.follow("Set up", "Start", 1)
        site.wait_counting("tally-4")
        self.count("tally-4")
        self.assertSame(before + 1)
        self.assertEqual(site.status("tally-1")["pid"], state, "nothing was restarted")

        def held():
            return site.machines["tally-4"].sh("tallyctl peers").count("holds all that this node") == 3
        eventually(held, 10, "the others hold what it counted")
        said = site.follow("Change the file", "A node less:")
        self.assertEqual(said.count("holds all that this node does"), 3, said)
        site.machines.pop("tally-4").close()
        site.follow("Set up", "Bring the file")
        site.follow("Change the file")
        eventually(lambda: site.status("tally-1")["peers"]["count"] == 2, 10, "it is out")
        self.count("tally-2")
        self.assertSame(before + 2)

    def lose(self, name):
        """The machine breaks, and a bare one comes in its place."""
        self.count(name)
        total = self.total()
        self.site.machines[name].close()
        self.count("tally-1")
        self.site.machine(name, f"192.0.2.{name[-1]}")
        self.site.follow("Set up", "Install", on=[name])
        return total + 1

    def test_a_machine_that_lost_its_disk_and_key_gets_everything_back(self):
        site = self.site
        total = self.lose("tally-3")
        site.follow("When something is lost", "A disk", 1)
        site.follow("Set up", "Keys")
        site.follow("Set up", "Bring the file")
        site.follow("Change the file")
        site.follow("Set up", "Start", on=["tally-3"])
        site.follow("Set up", "Start", 1)
        site.wait_counting("tally-3")
        self.count("tally-3")
        self.assertSame(total + 1)

    def test_a_machine_that_lost_its_disk_but_not_its_key_gets_everything_back(self):
        site = self.site
        site.at_desk("ssh root@tally-3 cat /var/lib/tally/node.key >node.key")
        total = self.lose("tally-3")
        site.follow("When something is lost", "A disk")
        site.follow("Set up", "Start", on=["tally-3"])
        site.wait_counting("tally-3")
        self.count("tally-3")
        self.assertSame(total + 1)

    def test_an_old_backup_is_started_as_it_is(self):
        site = self.site
        machine = site.machines["tally-2"]
        self.count("tally-2", 2)
        self.stop("tally-2")
        machine.sh("cp -a /var/lib/tally /var/lib/tally.old")
        site.follow("Set up", "Start", on=["tally-2"])
        site.wait_counting("tally-2")
        self.count("tally-2", 2)
        before = self.total()
        self.stop("tally-2")
        machine.sh("rm -r /var/lib/tally && mv /var/lib/tally.old /var/lib/tally")
        site.follow("Set up", "Start", on=["tally-2"])
        site.wait_counting("tally-2")
        self.count("tally-2")
        self.assertSame(before + 1)

    def test_a_backup_is_restored_and_meets_the_others(self):
        site = self.site
        machine = site.machines["tally-2"]
        self.count("tally-2", 2)
        site.follow("Back up and restore", "A backup", on=["tally-2"])
        self.count("tally-2", 2)
        before = self.total()
        self.stop("tally-2")
        site.follow("Back up and restore", "To restore", on=["tally-2"])
        self.assertEqual(machine.sh("find /var/lib/tally ! -user tally").strip(), "")
        site.follow("Set up", "Start", on=["tally-2"])
        site.wait_counting("tally-2")
        self.count("tally-2")
        self.assertSame(before + 1)
        machine.sh("rm -r /var/lib/tally.old /var/backups/tally")

    def test_a_copied_machine_is_noticed_and_what_both_counted_stands(self):
        site = self.site
        self.count("tally-3")
        before = self.total()
        site.machine("tally-9", "192.0.2.9")
        site.follow("Set up", "Install", on=["tally-9"])
        copy = site.machines.pop("tally-9")
        self.addCleanup(copy.close)
        self.stop("tally-3")
        site.at_desk("ssh root@tally-3 'tar -C / -c etc/tally var/lib/tally' | ssh root@tally-9 'tar -C / -x'")
        copy.sh("hostname tally-3")
        start = site.page.block("Set up", "Start")[1]
        copy.sh(start)
        site.machines["tally-3"].sh(start)
        site.wait_counting("tally-3")
        copy.sh("agicall agi://127.0.0.1/count hits")
        self.count("tally-3")
        for name in ("tally-1", "tally-2"):
            eventually(lambda name=name: " COPIED" in site.machines[name].sh("tallyctl peers"), 60,
                       f"{name} notices")
            with self.assertRaisesRegex(AssertionError, "exit code 1"):
                site.machines[name].sh("tallyctl status")
        site.follow("When something is lost", "Nothing, but a machine was copied")
        site.follow("Set up", "Bring the file")
        site.follow("Change the file")
        eventually(lambda: copy.sh("tallyctl peers").count("holds all that this node does") == 2, 60,
                   "the others have what the copy has counted")
        copy.close()
        site.follow("When something is lost", "Nothing, but a machine was copied", 1)
        site.follow("Set up", "Bring the file")
        site.follow("Change the file")
        self.assertSame(before + 2)
        site.at_desk('running="tally-1 tally-2 tally-3"')

    def stop(self, name):
        machine = self.site.machines[name]
        machine.sh('kill "$(cat /var/lib/tally/lock)"')
        eventually(lambda: not machine.sh("ps -o pid= -C tallyd", check=False).strip(), 40, "it has ended")


class TheFile(unittest.TestCase):
    def test_with_a_key_left_out_it_is_refused_and_nothing_is_begun(self):
        path = os.path.join(ROOT, "deploy", "cluster.conf")
        for words in (["-n"], []):
            done = run(TALLYD, "-c", path, *words, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertRegex(done.stderr, r"cluster\.conf:\d+: key = KEY-OF-tally-1: expected the 64 "
                                          r"hexadecimal digits that tallyd -k tells on that node")
        self.assertFalse(os.path.exists("/var/lib/tally"))

    def test_the_states_of_the_page_are_those_that_tallyctl_tells(self):
        with open(os.path.join(ROOT, "deploy", "CLUSTER.md"), encoding="utf-8") as file:
            rows = re.findall(r"(?m)^\| (`.*`) \|", file.read())
        with open(os.path.join(ROOT, "replica", "ctl_state.c"), encoding="utf-8") as file:
            program = file.read()
        self.assertEqual(len(rows), 7)
        for row in rows:
            for state in re.findall(r"`(.*?)`", row):
                for piece in re.split(r"\.\.\. |\bN\b", state):
                    self.assertIn(piece, program)

    def test_every_command_of_the_page_is_run(self):
        """By the tests of the class above: each block is one that they follow."""
        text = ""
        for path in (__file__, manual.__file__):
            with open(path, encoding="utf-8") as file:
                text += file.read()
        followed = {(heading, bold, int(number or 0)) for heading, bold, number in re.findall(
            r'(?:site|self)\.follow\("([^"]*)"(?:, "([^"]*)")?(?:, (\d+))?[,)]', text)}
        page = Page("deploy/CLUSTER.md")
        there = []
        for heading, bold, fence, _ in page.blocks:
            if fence.startswith("sh "):
                number = sum(1 for h, b, _ in there if (h, b) == (heading, bold))
                there.append((heading, bold, number))
        self.assertGreater(len(there), 8)
        self.assertEqual(set(there), followed)


if __name__ == "__main__":
    unittest.main()

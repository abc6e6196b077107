"""deploy/CLUSTER.md and deploy/cluster.conf as an administrator uses them: on bare machines, by nothing but
what stands there."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from harness import ROOT, TALLYD, TMP, die_with_parent, eventually, run, seconds
from machines import Lan, Machine

NAMES = ("tally-1", "tally-2", "tally-3")

# What stands in for ssh and scp on the administrator's desk: root on a machine of the test's.
SSH = """#!/bin/sh
host=${1#root@}
shift
exec nsenter -t "$(cat "$MACHINES/$host")" --mount --uts --net --pid --root --wd -- sh -c "$*"
"""
SCP = """#!/bin/sh
host=${2#root@} host=${host%%:*}
exec ssh "root@$host" "cat >'${2#*:}'" <"$1"
"""


class Page:
    """The fenced blocks of a page, by the heading or the bold words that they follow."""

    def __init__(self, path):
        self.blocks = []  # (heading, bold words, what the fence says behind its language, text)
        heading = bold = ""
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            text = file.read()
        for fence, body, title, words in re.findall(
                r"(?ms)^```(\S.*?)\n(.*?)^```$|^#+ (.*?)$|^\*\*(.+?)\*\*", text):
            if title:
                heading, bold = title, ""
            elif words:
                bold = words.rstrip(".")
            else:
                self.blocks.append((heading, bold, fence, body))

    def block(self, heading, bold="", number=0):
        found = [(fence, body) for h, b, fence, body in self.blocks if (h, b) == (heading, bold)]
        if len(found) <= number:
            raise AssertionError(f"no block {number} under {heading}, {bold}")
        return found[number]


class Site:
    """A network, machines on it, and a desk from which ssh reaches them."""

    def __init__(self):
        os.makedirs(TMP, exist_ok=True)
        self.folder = tempfile.mkdtemp(prefix="site-", dir=TMP)
        self.page = Page("deploy/CLUSTER.md")
        self.machines = {}
        self.desk = os.path.join(self.folder, "desk")
        os.makedirs(os.path.join(self.desk, "bin"))
        shutil.copytree(os.path.join(ROOT, "deploy"), os.path.join(self.desk, "deploy"))
        for name, text in (("ssh", SSH), ("scp", SCP)):
            path = os.path.join(self.desk, "bin", name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(path, 0o755)
        open(os.path.join(self.desk, "session"), "w", encoding="ascii").close()
        self.lan = Lan()

    def machine(self, name, address):
        folder = os.path.join(self.folder, name)
        machine = self.machines[name] = Machine(self.lan, name, address, folder)
        with open(os.path.join(self.folder, f"{name}.pid"), "w", encoding="ascii") as file:
            file.write(str(machine.space.pid))
        os.replace(file.name, os.path.join(self.desk, name))
        return machine

    def follow(self, heading, bold="", number=0, on=None):
        """Do what a block says, where it says; `on`: on these machines only. What was said comes back."""
        fence, body = self.page.block(heading, bold, number)
        if fence == "sh desk":
            return self.at_desk(body)
        assert fence == "sh each machine", fence
        return [self.machines[name].sh(f"cd {ROOT}\n{body}", limit=300)
                for name in on or list(self.machines)]

    def at_desk(self, script):
        """A shell whose variables outlive it, as if one stayed open."""
        script = f". ./session\n{script}\nset | grep -E '^(running|new)=' >session"
        env = dict(os.environ, MACHINES=self.desk, PATH=f"{self.desk}/bin:{os.environ['PATH']}")
        done = subprocess.run(["sh", "-euc", script], cwd=self.desk, env=env, text=True, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds(60),
                              preexec_fn=die_with_parent)
        if done.returncode != 0:
            raise AssertionError(f"{script}\nexit code {done.returncode}\n{done.stdout}")
        return done.stdout

    def status(self, name):
        return json.loads(self.machines[name].sh("tallyctl --json status"))

    def wait_counting(self, *names):
        for name in names:
            eventually(lambda name=name: self.machines[name].sh("tallyctl --json status", check=False)
                       .count('"joining":false'), 40, f"{name} says numbers")

    def totals(self, counter="hits"):
        return {name: self.machines[name].sh(f"tallyctl get {counter}", check=False).strip()
                for name in self.machines}

    def close(self):
        for machine in self.machines.values():
            machine.close()
        self.lan.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class ThreeBareMachines(unittest.TestCase):
    """Every test begins and ends with three nodes that hold the same."""

    @classmethod
    def setUpClass(cls):
        cls.site = site = Site()
        cls.addClassCleanup(site.close)
        for number, name in enumerate(NAMES, 1):
            site.machine(name, f"192.0.2.{number}")
        site.follow("Set up", "Install")
        site.follow("Set up", "Configure")
        site.follow("Set up", "Keys")
        site.follow("Set up", "Bring the file")
        site.follow("Set up", "Firewall")
        site.follow("Set up", "Start")
        site.follow("Set up", "Start", 1)
        site.wait_counting(*NAMES)

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
            self.assertRegex(said, rf"(?m)\A(tally\n)+node +{name}$")
            self.assertRegex(said, r"(?m)^numbers +PROVISIONAL$")
            self.assertRegex(said, r"(?m)^peers +2 of 2 connected$")

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

    def test_every_command_of_the_page_is_run(self):
        """By the tests of the class above: each block is one that they follow."""
        with open(__file__, encoding="utf-8") as file:
            text = file.read()
        followed = {(heading, bold, int(number or 0)) for heading, bold, number in re.findall(
            r'site\.follow\("([^"]*)"(?:, "([^"]*)")?(?:, (\d+))?[,)]', text)}
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

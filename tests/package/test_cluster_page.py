"""deploy/CLUSTER.md as an administrator follows it: on bare Debian machines with a network of their own, by nothing but
what stands there, from its first block to its last. The tests are steps of one way, in the order in which they stand."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

from harness import ROOT, TMP, die_with_parent, eventually
from machine import Machine
from machines import Lan
from page import Desk, Walk

BASE = os.environ.get("TALLY_DEBIAN", "")
DEB, NEWER_DEB = os.environ.get("TALLY_DEB", ""), os.environ.get("TALLY_NEWER_DEB", "")
NAMES = ("tally-1", "tally-2", "tally-3")
DNS = "192.0.2.254"


def load_tests(loader, _tests, _pattern):
    """In the order in which they are written."""
    return unittest.TestSuite(FromBareMachinesOn(name) for name in vars(FromBareMachinesOn) if name.startswith("test_"))


class FromBareMachinesOn(unittest.TestCase):
    broken = False

    @classmethod
    def setUpClass(cls):
        cls.lan = Lan()  # First, for it may raise SkipTest.
        cls.addClassCleanup(cls.lan.close)
        os.makedirs(TMP, exist_ok=True)
        cls.folder = tempfile.mkdtemp(prefix="page-", dir=TMP)
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.desk = Desk(cls.folder)
        cls.addClassCleanup(cls.desk.close)
        cls.walk = Walk("deploy/CLUSTER.md", cls.desk)
        cls.machines = {}
        for name in NAMES:
            cls.switch_on(name)
        for name in NAMES:
            cls.plug_in(name, f"192.0.2.{name[-1]}")
        shutil.copy(DEB, os.path.join(cls.folder, "tally_1.deb"))

    @classmethod
    def switch_on(cls, name, hostname=None):
        machine = cls.machines[name] = Machine(BASE, hostname or name, os.path.join(TMP, "machines.log"))
        cls.addClassCleanup(machine.close)
        machine.switch_on()

    @classmethod
    def plug_in(cls, name, address):
        machine = cls.machines[name].wait_up()
        cls.lan.plug(machine, address)
        machine.write("/etc/resolv.conf", f"nameserver {DNS}\n")
        cls.desk.reach(name, machine.pid)

    @classmethod
    def put_in_place(cls, name, address, hostname=None):
        """A bare machine, in place of one whose power is cut."""
        if name in cls.machines:
            cls.machines[name].close()
        cls.switch_on(name, hostname)
        cls.plug_in(name, address)

    def setUp(self):
        self.assertFalse(self.broken, "a step before this one failed")
        type(self).broken = True

    def done(self):
        """Each step ends with it: all nodes are well and have the same."""
        self.total()
        for name in self.machines:
            self.machines[name].sh("tallyctl verify")
        type(self).broken = False

    def count(self, name, counter="hits"):
        self.machines[name].sh(f"agicall agi://127.0.0.1/count {counter}")

    def total(self, counter="hits"):
        """The same at all nodes."""
        totals = {}

        def met():
            totals.update({name: self.machines[name].sh(f"tallyctl get {counter}", check=False).strip()
                           for name in self.machines})
            return len(set(totals.values())) == 1
        try:
            eventually(met, 30, "all nodes have the same total")
        except AssertionError as error:
            said = "".join(f"--- {name}\n" + machine.sh("tallyctl peers; journalctl -u tally -n 40 --no-pager",
                                                        check=False) for name, machine in self.machines.items())
            raise AssertionError(f"{error}: {totals}\n{said}") from None
        return int(next(iter(totals.values())))

    def test_three_bare_machines_become_a_cluster(self):
        for machine in self.machines.values():
            self.assertFalse(os.path.exists(machine.path("/usr/sbin/tallyd")))
        self.walk.follow("A cluster in ten minutes")
        for bold in ("Install", "Configure", "Firewall", "Start"):
            self.walk.follow("Set up", bold)
        self.assertEqual(self.total(), 3)
        self.done()

    def knock(self, address, port):
        """From a machine that the firewall's line does not name: whether somebody opens."""
        knock = f"import socket; socket.create_connection(('{address}', {port}), 1)"
        return subprocess.run([*self.lan.enter(), sys.executable, "-c", knock], check=False, timeout=60,
                              stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def test_who_does_not_stand_in_the_firewall_s_line_is_not_let_in(self):
        machine = self.machines["tally-1"]
        for port in (4573, 4574):
            self.assertFalse(self.knock("192.0.2.1", port))
            self.machines["tally-2"].sh(f"bash -c 'exec 3<>/dev/tcp/192.0.2.1/{port}'")
        # It is the rule that keeps the stranger out, and it is there after the next boot, too.
        machine.sh("nft delete table inet tally")
        self.assertTrue(self.knock("192.0.2.1", 4574))
        machine.sh("systemctl start nftables")
        self.assertFalse(self.knock("192.0.2.1", 4574))
        self.done()

    def test_the_records_for_the_domain_are_found_by_each_machine(self):
        zone = os.path.join(self.folder, ".zone")
        with open(zone, "w", encoding="ascii") as file:
            file.write(self.walk.take("zone", "Asterisk"))
        dns = subprocess.Popen(
            [*self.lan.enter(), sys.executable, "-B", os.path.join(ROOT, "tests", "asterisk", "dns.py"), DNS, zone],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        try:
            self.assertEqual(dns.stdout.readline(), "ready\n")
            self.walk.follow("Asterisk")
        finally:
            dns.kill()
            dns.communicate()
        self.done()

    def test_what_to_watch_is_seen_and_what_is_over_is_retired(self):
        self.walk.follow("What to watch")
        said = self.walk.follow("What to watch", "At 3 a.m")[0]
        for name in NAMES:
            self.assertRegex(said, rf"(?m)^{name}\nOK: {name} counts,")
        self.count("tally-2", "tickets-20261123")
        self.assertEqual(self.total("tickets-20261123"), 1)
        self.walk.follow("What to watch", "A counter that is over")
        for machine in self.machines.values():
            eventually(lambda machine=machine: "tickets" not in machine.sh("tallyctl counters"), 10, "it is hidden")
        self.done()

    def test_nodes_and_a_witness_come_and_go_and_nothing_is_restarted_for_it(self):
        processes = {name: self.process(name) for name in NAMES}
        self.walk.follow("Change the file")
        self.switch_on("tally-4")
        self.plug_in("tally-4", "192.0.2.4")
        self.walk.follow("Change the file", "A node more")
        self.walk.follow("Change the file", "A witness")
        witness = self.machines["tally-1"]
        self.assertEqual(witness.sh("systemctl show --value -p StatusText tally@witness"),
                         "A witness, which takes no calls\n")
        self.assertEqual(witness.sh("stat -c '%U %a' /var/lib/tally-witness/ /var/lib/tally-witness/node.key"),
                         "tally 700\ntally 600\n")
        self.count("tally-4")
        self.walk.follow("Change the file", "A node less")
        self.machines.pop("tally-4").close()
        eventually(lambda: self.status("tally-1")["peers"]["count"] == 3, 10, "it is out, and the witness is in")
        self.assertEqual(self.total(), 4)
        self.assertEqual({name: self.process(name) for name in NAMES}, processes)
        self.done()

    def status(self, name):
        return json.loads(self.machines[name].sh("tallyctl --json status", check=False))

    def process(self, name):
        return self.machines[name].sh("systemctl show --value -p MainPID tally")

    def keep_calling(self, name, heard, end):
        """One call after another, as the dialplan does it: to the node of this machine, and where that says no number to
        the others. What was heard goes to `heard`, None where nobody said a number."""
        nodes = sorted(NAMES, key=lambda node: node != name)
        while not end.is_set():
            for node in nodes:
                said = self.machines[name].run("agicall", "--json", "--think", "300ms",
                                               f"agi://192.0.2.{node[-1]}/hits", check=False).stdout
                number = re.search(r'"number":(\d+)', said)
                if number:
                    break
            heard.append((node, int(number[1])) if number else None)

    def test_an_upgrade_of_one_after_another_loses_no_call(self):
        before = self.total()
        os.remove(os.path.join(self.folder, "tally_1.deb"))
        shutil.copy(NEWER_DEB, os.path.join(self.folder, "tally_2.deb"))
        processes = {name: self.process(name) for name in NAMES}
        heard, end = [], threading.Event()
        callers = [threading.Thread(target=self.keep_calling, args=(name, heard, end)) for name in NAMES * 2]
        for caller in callers:
            caller.start()
        try:
            eventually(lambda: len(heard) >= 6, 30, "calls go on")
            said = self.walk.follow("Upgrade")[-1]
        finally:
            end.set()
            for caller in callers:
                caller.join()
        self.assertEqual(len(re.findall(r"(?m)^tally\s+\S+newer$", said)), 3, said)
        for name, process in processes.items():
            self.assertNotEqual(self.process(name), process)
        self.assertNotIn(None, heard, "every caller hears a number")
        self.assertEqual({node for node, _ in heard}, set(NAMES))
        self.assertEqual(len(set(heard)), len(heard), "no node says a number twice")
        self.assertEqual(self.total(), before + len(heard), "whoever is counted hears his number")
        self.done()

    def test_a_backup_is_restored_and_meets_the_others(self):
        self.count("tally-2")
        self.walk.follow("Back up and restore", "A backup")
        self.count("tally-2")
        before = self.total()
        self.walk.follow("Back up and restore", "To restore")
        machine = self.machines["tally-2"]
        self.assertEqual(machine.sh("find /var/lib/tally ! -user tally"), "")
        self.count("tally-2")
        self.assertEqual(self.total(), before + 1)
        self.done()

    def lose(self, name):
        """The machine breaks, and a bare one comes in its place."""
        self.count(name)
        total = self.total()
        self.machines[name].close()
        self.count("tally-1")
        self.put_in_place(name, f"192.0.2.{name[-1]}")
        return total + 1

    def test_a_machine_that_is_lost_with_its_disk_gets_everything_back(self):
        total = self.lose("tally-3")
        key = self.machines["tally-1"].sh("sed -n '/^.peer tally-3/,/^key/p' /etc/tally/tally.conf")
        self.walk.follow("When something is lost", "A machine, or its disk")
        self.assertIn(self.machines["tally-3"].sh("tallyctl --json key")[8:72], key)
        self.count("tally-3")
        self.assertEqual(self.total(), total + 1)
        self.done()

    def test_a_machine_that_is_lost_with_its_key_gets_everything_back(self):
        total = self.lose("tally-3")
        self.walk.follow("When something is lost", "Its key, too")
        self.count("tally-3")
        self.assertEqual(self.total(), total + 1)
        self.done()

    def test_an_old_backup_of_the_directory_is_started_as_it_is(self):
        machine = self.machines["tally-2"]
        machine.sh("systemctl stop tally; cp -a /var/lib/tally /var/lib/tally-old; systemctl start tally")
        self.desk.run("well")
        self.count("tally-2")
        before = self.total()
        machine.sh("systemctl stop tally; rm -r /var/lib/tally; mv /var/lib/tally-old /var/lib/tally; "
                   "systemctl start tally")
        self.desk.run("well")
        self.count("tally-2")
        self.assertEqual(self.total(), before + 1)
        self.done()

    def test_a_copied_machine_is_noticed_and_what_both_counted_stands(self):
        before = self.total()
        self.put_in_place("192.0.2.9", "192.0.2.9", hostname="tally-3")
        self.desk.run("package 192.0.2.9; ssh root@192.0.2.9 systemctl stop tally; ssh root@tally-3 systemctl stop tally;"
                      "ssh root@tally-3 tar -C / -c etc/tally var/lib/tally | ssh root@192.0.2.9 tar -C / -x;"
                      "ssh root@tally-3 systemctl start tally; ssh root@192.0.2.9 systemctl start tally;"
                      "sed -i '/^define/s/ }/, 192.0.2.9 }/' tally.nft; firewall")
        copy = self.machines.pop("192.0.2.9")
        copy.sh("until agicall agi://127.0.0.1/count hits | grep -q 'TALLY_NUMBER \"[1-9]'; do sleep 0.1; done")
        self.count("tally-3")
        for name in ("tally-1", "tally-2"):
            eventually(lambda name=name: " COPIED" in self.machines[name].sh("tallyctl peers"), 60, f"{name} notices")
            self.assertEqual(self.machines[name].run("tallyctl", "status", check=False).returncode, 1)
        self.walk.follow("When something is lost", "Nothing, but a machine was copied")
        copy.close()
        self.assertEqual(self.total(), before + 2)
        self.done()

    def test_what_only_a_node_that_is_set_aside_has_counted_is_found_and_put_back(self):
        before = self.total()
        # What it counts last reaches nobody: it is cut off until it is started again. The connections are reset, so that
        # what they hold is not sent again afterwards.
        self.machines["tally-2"].sh("""
            nft 'table inet cut { chain cut { type filter hook output priority 0;
                tcp dport { 4574, 4575 } reject with tcp reset; tcp sport 4574 reject with tcp reset; }; }'
            mkdir -p /run/systemd/system/tally.service.d
            printf '[Service]\\nExecStartPre=+nft delete table inet cut\\n' \\
                >/run/systemd/system/tally.service.d/cut.conf
            systemctl daemon-reload""")
        eventually(lambda: self.status("tally-2")["peers"]["connected"] == 0, 30, "it reaches nobody")
        self.count("tally-2")
        self.walk.follow("When something is lost", "A node is stuck behind a fork")
        self.assertEqual(self.total(), before + 1)
        self.done()

    def test_nothing_on_the_page_is_left_out(self):
        self.assertIsNone(self.walk.next(), str(self.walk.next()))
        self.done()


if __name__ == "__main__":
    unittest.main()

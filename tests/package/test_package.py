"""The Debian package, on a Debian 12 with a systemd of its own: installed, upgraded, removed and purged as an admin
would."""

import json
import os
import re
import subprocess
import sys
import unittest

from harness import TMP, alive, die_with_parent, eventually
from machine import Machine

BASE = os.environ.get("TALLY_DEBIAN", "")
DEB, NEWER_DEB = os.environ.get("TALLY_DEB", ""), os.environ.get("TALLY_NEWER_DEB", "")
URL = "agi://127.0.0.1/hits"


class Machines(unittest.TestCase):
    def test_a_machine_ends_with_the_run_that_booted_it_however_that_ends(self):
        os.makedirs(TMP, exist_ok=True)
        run = subprocess.Popen(
            [sys.executable, "-B", "-c", "import sys; from machine import Machine\n"
             "print(Machine(*sys.argv[1:]).boot().pid, flush=True); sys.stdin.read()",
             BASE, "vm", os.path.join(TMP, "machine.log")], env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        pid = int(run.stdout.readline())
        self.assertTrue(alive(pid))
        run.kill()
        run.communicate()
        eventually(lambda: not alive(pid), 20, "it has ended")


class Package(unittest.TestCase):
    def setUp(self):
        os.makedirs(TMP, exist_ok=True)
        self.machine = Machine(BASE, "vm", os.path.join(TMP, "machine.log"))
        self.addCleanup(self.machine.close)
        self.machine.boot()
        self.deb = self.machine.put(DEB)

    def install(self, deb=None, *options):
        return self.machine.run("apt-get", "install", "-y", *options, deb or self.deb).stdout

    def number(self, *options):
        """What a call is told."""
        done = self.machine.run("agicall", "--json", *options, URL)
        return json.loads(done.stdout)["number"]

    def property(self, name, unit="tally"):
        return self.machine.run("systemctl", "show", "--value", "--property", name, unit).stdout.strip()

    def journal(self, *options):
        return self.machine.run("journalctl", "-u", "tally", "-o", "cat", *options).stdout

    def test_installed_it_serves_at_once_as_a_user_of_its_own_with_a_state_for_nobody_else(self):
        machine = self.machine
        self.install()
        # No wait: the unit is started only once calls are taken.
        self.assertEqual([self.number(), self.number()], [1, 2])
        self.assertEqual(machine.run("systemctl", "is-enabled", "tally").stdout.strip(), "enabled")
        self.assertRegex(self.property("StatusText"), r"^Serving FastAGI on 127.0.0.1:4573$")
        self.assertEqual(self.property("User"), "tally")
        self.assertEqual(machine.run("stat", "-c", "%U %a", "/var/lib/tally/").stdout, "tally 700\n")
        self.assertEqual(machine.run("stat", "-c", "%U %a", "/var/lib/tally/node.key").stdout, "tally 600\n")
        self.assertEqual(machine.run("tallyctl", "get", "hits").stdout.split()[-1], "2")
        self.assertIn("OK", machine.run("tallyctl", "status").stdout)
        for page in ("tallyd.8", "tallyctl.8", "tally.conf.5", "agicall.1"):
            self.assertTrue(os.path.exists(machine.path(f"/usr/share/man/man{page[-1]}/{page}.gz")), page)
        # What tallyctl's messages and the pages lead to, readable without zcat.
        for name in ("CAPACITY.md", "CLUSTER.md", "SCRIPTS.md", "README.Debian", "examples/cluster.conf",
                     "examples/tally.nft", "examples/extensions.conf", "examples/extensions-one-node.conf", "examples/tally.rules.yml"):
            self.assertTrue(os.path.exists(machine.path(f"/usr/share/doc/tally/{name}")), name)

    def test_the_journal_gets_priorities(self):
        self.install()
        self.machine.write("/etc/tally/tally.conf", self.machine.read("/etc/tally/tally.conf") + "nonsense\n")
        self.assertNotEqual(self.machine.run("systemctl", "reload", "tally", check=False).returncode, 0)
        self.machine.run("kill", "-HUP", self.property("MainPID"))
        eventually(lambda: "tally.conf:" in self.journal("-p", "err"), 10, "the mistake is said as an error")
        self.assertNotIn("ready: serving", self.journal("-p", "err"))
        self.assertIn("ready: serving", self.journal("-p", "info"))
        self.assertEqual(self.number(), 1)

    def test_a_reload_takes_a_new_configuration_and_ends_no_call(self):
        self.install()
        main = self.property("MainPID")
        text = self.machine.read("/etc/tally/tally.conf")
        self.machine.write("/etc/tally/tally.conf",
                           text.replace("listen = 127.0.0.1:4573", "listen = 127.0.0.1:4573\nlisten = 127.0.0.1:4600"))
        call = self.machine.begin("agicall", "--json", "--think", "1s", URL)
        self.machine.run("systemctl", "reload", "tally")
        eventually(lambda: self.property("StatusText").endswith("127.0.0.1:4600"), 20, "it listens there too")
        self.assertEqual(json.loads(call.communicate()[0])["number"], 1)
        self.assertEqual(self.property("MainPID"), main)

    def test_a_killed_node_comes_back_with_its_counts(self):
        self.install()
        self.assertEqual(self.number(), 1)
        main = self.property("MainPID")
        self.machine.run("kill", "-KILL", main)
        eventually(lambda: self.property("MainPID") not in ("0", main) and
                   self.property("ActiveState") == "active", 30, "it runs again")
        self.assertEqual(self.number(), 2)

    def test_an_upgrade_lets_calls_finish_and_keeps_counts_key_and_configuration(self):
        machine = self.machine
        self.install()
        self.assertEqual(self.number(), 1)
        key = machine.run("tallyctl", "key").stdout
        machine.write("/etc/tally/tally.conf", machine.read("/etc/tally/tally.conf") + "\n# an admin's line\n")
        calls = [machine.begin("agicall", "--json", "--think", "2s", URL) for _ in range(5)]
        eventually(lambda: machine.run("tallyctl", "get", "hits").stdout.split()[-1] == "6", 20, "all five count")
        self.assertIn("Setting up tally",
                      self.install(machine.put(NEWER_DEB), "-o", "Dpkg::Options::=--force-confold"))
        numbers = sorted(json.loads(call.communicate()[0])["number"] for call in calls)
        self.assertEqual(numbers, [2, 3, 4, 5, 6])
        self.assertEqual(self.number(), 7)
        self.assertEqual(machine.run("tallyctl", "key").stdout, key)
        self.assertIn("# an admin's line", machine.read("/etc/tally/tally.conf"))
        self.assertIn("# newer", machine.read("/etc/tally/tally.conf.dpkg-dist"))
        version = machine.run("dpkg-query", "-W", "-f", "${Version}", "tally").stdout
        self.assertTrue(version.endswith("+newer"), version)
        # What runs is what was installed.
        self.assertEqual(machine.run("stat", "-L", "-c", "%i", f"/proc/{self.property('MainPID')}/exe").stdout,
                         machine.run("stat", "-c", "%i", "/usr/sbin/tallyd").stdout)

    def test_removed_it_leaves_the_counts_and_purged_nothing(self):
        machine = self.machine
        self.install()
        self.assertEqual(self.number(), 1)
        machine.run("apt-get", "remove", "-y", "tally")
        self.assertEqual(machine.run("pgrep", "tallyd", check=False).returncode, 1)
        self.assertTrue(os.path.exists(machine.path("/var/lib/tally/node.key")))
        self.assertTrue(os.path.exists(machine.path("/etc/tally/tally.conf")))
        self.install()
        self.assertEqual(self.number(), 2)
        said = machine.run("apt-get", "purge", "-y", "tally").stdout
        self.assertIn("Removing /var/lib/tally with its counters, its log and its node's key.", said)
        for path in ("/var/lib/tally", "/etc/tally", "/usr/sbin/tallyd", "/lib/systemd/system/tally.service"):
            self.assertFalse(os.path.exists(machine.path(path)), path)

    def test_several_nodes_on_one_machine_and_a_witness_are_instances_of_a_template(self):
        machine = self.machine
        self.install()
        for name, port, more in (("east", 4601, ""), ("west", 4602, ""), ("eye", 4603, "workers = 0\n")):
            machine.write(f"/etc/tally/{name}.conf", f"[node]\nname = {name}\nstate = /var/lib/tally-{name}\n"
                                                     f"[fastagi]\nlisten = 127.0.0.1:{port}\n{more}")
            machine.run("systemctl", "start", f"tally@{name}")
        for port in (4601, 4602):
            done = machine.run("agicall", "--json", f"agi://127.0.0.1:{port}/hits")
            self.assertEqual(json.loads(done.stdout)["number"], 1)
        self.assertEqual(self.property("StatusText", "tally@eye"), "A witness, which takes no calls")
        self.assertEqual(machine.run("tallyctl", "-d", "/var/lib/tally-east", "get", "hits").stdout.split()[-1], "1")
        self.install(machine.put(NEWER_DEB))
        for name in ("east", "west", "eye"):
            self.assertEqual(self.property("ActiveState", f"tally@{name}"), "active")
            self.assertEqual(machine.run("stat", "-L", "-c", "%i",
                                         f"/proc/{self.property('MainPID', f'tally@{name}')}/exe").stdout,
                             machine.run("stat", "-c", "%i", "/usr/sbin/tallyd").stdout)

    def test_a_removed_package_leaves_no_instance_running_and_a_purged_one_nothing_of_it(self):
        machine = self.machine
        self.install()
        machine.write("/etc/tally/east.conf", "[node]\nname = east\nstate = /var/lib/tally-east\n"
                                              "[fastagi]\nlisten = 127.0.0.1:4601\n")
        machine.run("systemctl", "enable", "--now", "tally@east")
        said = machine.run("apt-get", "remove", "-y", "tally").stdout
        self.assertEqual(machine.run("pgrep", "tallyd", check=False).returncode, 1)
        for name in ("tally", "tally-east"):
            self.assertIn(f"/var/lib/{name} stays, with its counters, its log and its node's key.", said)
            self.assertTrue(os.path.exists(machine.path(f"/var/lib/{name}/node.key")))
        self.assertIn("apt-get purge tally", said)
        said = machine.run("apt-get", "purge", "-y", "tally").stdout
        for name in ("tally", "tally-east"):
            self.assertIn(f"Removing /var/lib/{name} with its counters, its log and its node's key.", said)
            self.assertFalse(os.path.exists(machine.path(f"/var/lib/{name}")))
        self.assertIn("/etc/tally stays: there are files in it that the package did not bring.", said)
        self.assertEqual(machine.sh("find /etc/systemd /var/lib/systemd -name 'tally*'"), "")

    def test_the_witness_of_the_shipped_file_is_one_once_its_lines_are_uncommented(self):
        machine = self.machine
        self.install()
        machine.sh('''
            cd /etc/tally
            for node in tally-1 tally-2 tally-3; do
                printf '[node]\\nstate = /srv/%s\\n' $node >/srv/$node.conf
                key=$(tallyd -c /srv/$node.conf -k | sed -n 's/^key  *\\([0-9a-f]*\\)$/\\1/p')
                sed -i "s/KEY-OF-$node/$key/" tally.conf
            done
            sed -i '/^# ==== Set-up: a witness/,$ s/^#\\([a-z[]\\)/\\1/' tally.conf
            systemctl restart tally''')
        self.assertEqual(self.property("StatusText"), "A witness, which takes no calls")
        self.assertNotEqual(machine.run("agicall", URL, check=False).returncode, 0)

    def test_a_configuration_that_makes_no_sense_is_said_once_and_not_tried_again(self):
        machine = self.machine
        self.install()
        machine.write("/etc/tally/tally.conf", "[node]\nstate = /var/lib/tally\nnonsense = 1\n")
        self.assertNotEqual(machine.run("systemctl", "restart", "tally", check=False).returncode, 0)
        self.assertEqual(self.property("ActiveState"), "failed")
        self.assertIn("/etc/tally/tally.conf:3:", self.journal())

    def test_the_units_are_sound_give_away_little_and_have_room_for_twenty_thousand_calls(self):
        machine = self.machine
        self.install()
        for unit in ("tally.service", "tally@east.service"):
            self.assertEqual(machine.run("systemd-analyze", "verify", "--man=no", unit).stderr, "")
            said = machine.run("systemd-analyze", "security", "--no-pager", unit).stdout
            exposure = float(re.search(r"exposure level for \S+: ([0-9.]+)", said).group(1))
            self.assertLessEqual(exposure, 2.0, said)
            # Of one process; this machine may allow less.
            self.assertGreaterEqual(int(self.property("LimitNOFILE", unit)), 20000 + 96)

"""Three machines, each with its tallyd and a real Asterisk 22, which runs deploy/asterisk/extensions.conf as it is
and asks DNS for the records of deploy/CLUSTER.md. Needs root; ASTERISK_DIR is where rig.sh has installed Asterisk."""

import atexit
import os
import re
import shutil
import subprocess
import sys
import unittest

from harness import ROOT, die_with_parent, eventually, free_port, seconds
from page import blocks_of
from site_of_nodes import NAMES, Site

HERE = os.path.dirname(os.path.abspath(__file__))
RIG = os.path.join(HERE, "rig.sh")
DIRECTORY = os.environ.get("ASTERISK_DIR", "")


def digits(number):
    """The sounds that Asterisk says a number below 1000 with."""
    if number >= 100:
        return [f"digits/{number // 100}", "digits/hundred"] + (digits(number % 100) if number % 100 else [])
    if number <= 20 or number % 10 == 0:
        return [f"digits/{number}"]
    return [f"digits/{number - number % 10}", f"digits/{number % 10}"]


def classic(number):
    """What a caller of 31415 hears."""
    return ["queue-thereare", *digits(number), "vm-goodbye"]


SORRY = ["please-try-call-later"]


class Rig:
    """The Asterisk of one machine."""

    def __init__(self, site, name):
        self.site, self.machine = site, site.machines[name]
        self.env = dict(os.environ, AMI_PORT=str(free_port()), RIG_NAME=name,
                        RIG_DIALPLAN=os.path.join(ROOT, "deploy", "asterisk", "extensions.conf"),
                        RIG_ENTER=" ".join(self.machine.network()),
                        RIG_RESOLV=os.path.join(site.folder, "resolv.conf"))
        self.folder = os.path.join(DIRECTORY, "srv", "rig-" + self.env["AMI_PORT"])
        self.mark = 0
        atexit.register(self.end)
        self.run("start")

    def command(self, verb, *words):
        return ["bash", RIG, verb, DIRECTORY, *map(str, words)]

    def run(self, verb, *words):
        out = os.path.join(self.site.folder, f"{self.env['RIG_NAME']}-{verb}.out")
        # Asterisk keeps what it gets as standard output for as long as it runs: a file.
        with open(out, "w", encoding="utf-8") as file:
            code = subprocess.run(self.command(verb, *words), env=self.env, stdout=file,
                                  stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                  timeout=300, check=False).returncode
        with open(out, encoding="utf-8", errors="replace") as file:
            text = file.read()
        if code != 0:
            raise AssertionError(f"rig.sh {verb}: {text}\n{self.log()[-3000:]}")
        return text

    def end(self):
        subprocess.run(self.command("stop"), env=self.env, stdin=subprocess.DEVNULL, check=True,
                       stdout=subprocess.DEVNULL, timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self):
        """What Asterisk has said since forget()."""
        try:
            with open(os.path.join(self.folder, "log", "full"), encoding="utf-8", errors="replace") as file:
                file.seek(self.mark)
                return file.read()
        except FileNotFoundError:
            return ""

    def said(self):
        """The numbers that callers heard, of Tally's own script and of the dialplan."""
        return [int(a or b) for a, b in
                re.findall(r'AGI Rx << SAY NUMBER (\d+)|SayNumber\("\S+?", "(\d+)"\)', self.log())]

    def heard(self):
        """The names of the sounds that each caller heard, in the order in which calls began to be heard."""
        callers = {}
        for channel, sound in re.findall(r"<(\S+)> Playing '([\w/-]+)\.", self.log()):
            callers.setdefault(channel, []).append(sound)
        return list(callers.values())

    def nodes(self):
        """Who counted the tickets, in the order of said()."""
        node, found = {}, []
        for line in self.log().splitlines():
            told = re.search(r'<(\S+)>AGI Rx << SET VARIABLE TALLY_NODE "(\S+)"', line)
            said = re.search(r'SayNumber\("(\S+?)", ', line)
            if told:
                node[told.group(1)] = told.group(2)
            elif said:
                found.append(node[said.group(1)])
        return found

    def forget(self):
        self.mark = os.path.getsize(os.path.join(self.folder, "log", "full"))


class ClusterCalls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        assert DIRECTORY, "ASTERISK_DIR is not set: use `sh tests/run.sh --only asterisk`"
        cls.site = Site()
        cls.addClassCleanup(cls.site.close)
        cls.site.set_up()
        with open(os.path.join(cls.site.folder, "resolv.conf"), "w", encoding="ascii") as file:
            file.write("nameserver 192.0.2.254\noptions timeout:1 attempts:2\n")
        cls.zone = os.path.join(cls.site.folder, "zone")
        with open(cls.zone, "w", encoding="ascii") as file:
            file.write(next(block.text for block in blocks_of("deploy/CLUSTER.md") if block.kind == "zone"))
        cls.start_dns()
        cls.rigs = {}
        for name in NAMES:
            rig = cls.rigs[name] = Rig(cls.site, name)
            cls.addClassCleanup(rig.end)

    @classmethod
    def start_dns(cls):
        cls.dns = subprocess.Popen(
            [*cls.site.lan.enter(), sys.executable, "-B", os.path.join(HERE, "dns.py"), "192.0.2.254",
             cls.zone], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            preexec_fn=die_with_parent)
        assert cls.dns.stdout.readline() == "ready\n"

    def setUp(self):
        for rig in self.rigs.values():
            rig.forget()
        self.before = {counter: self.total(counter) for counter in ("hits", "tickets")}

    def total(self, counter):
        """The same at all nodes."""
        totals = []

        def met():
            totals[:] = self.site.totals(counter).values()
            return len(set(totals)) == 1
        eventually(met, 30, f"the nodes agree on {counter}")
        return int(totals[0]) if totals[0].isdigit() else 0

    def counted(self, counter):
        return self.total(counter) - self.before[counter]

    def call(self, *calls):
        """Place (machine, extension, calls, at once) all at the same time; every call must end by itself."""
        running = [subprocess.Popen(self.rigs[name].command("call", *words), env=self.rigs[name].env,
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True, preexec_fn=die_with_parent)
                   for name, *words in calls]
        return running

    def finish(self, running):
        for process in running:
            out, _ = process.communicate(timeout=seconds(200))
            self.assertEqual(process.returncode, 0, out)

    def place(self, *calls):
        self.finish(self.call(*calls))

    def kill(self, name):
        """All of its tallyd's processes; its Asterisk stays. Some end with the first one, before they are named."""
        machine = self.site.machines[name]
        machine.sh("kill -9 $(ps -o pid= -C tallyd) || :")
        eventually(lambda: "tallyd" not in machine.sh("ps -o comm=,stat= -A | grep -v Z"), 10, "it is gone")

    def start(self, name):
        self.site.start(name)
        self.site.wait_counting(name)

    def test_by_srv_records_all_asterisks_use_one_node_and_no_number_is_said_twice(self):
        self.place(*((name, 31415, 5, 5) for name in NAMES))
        said = [number for rig in self.rigs.values() for number in rig.said()]
        first = self.before["hits"] + 1
        self.assertEqual(sorted(said), list(range(first, first + 15)))
        for rig in self.rigs.values():
            self.assertCountEqual(rig.heard(), [classic(number) for number in rig.said()])
        self.assertEqual(self.counted("hits"), 15)

    def test_where_the_first_node_refuses_the_next_srv_record_is_taken(self):
        self.kill("tally-1")
        self.place(("tally-3", 31415))
        self.assertIn("Connecting to '192.0.2.1:4573' failed", self.rigs["tally-3"].log())
        self.start("tally-1")
        self.assertEqual(self.rigs["tally-3"].heard(), [classic(self.before["hits"] + 1)])
        self.assertEqual(self.counted("hits"), 1)

    def test_where_the_first_machine_is_gone_the_next_srv_record_is_taken_after_two_seconds(self):
        machine = self.site.machines["tally-1"]
        machine.unplug()
        self.addCleanup(machine.plug_in)
        self.place(("tally-3", 31415))
        machine.plug_in()
        self.assertIn("timed out after MAX_AGI_CONNECT (2000)", self.rigs["tally-3"].log())
        self.assertEqual(self.rigs["tally-3"].heard(), [classic(self.before["hits"] + 1)])
        self.assertEqual(self.counted("hits"), 1)

    def test_without_dns_the_plain_address_is_taken(self):
        self.dns.kill()
        self.dns.communicate()
        self.addClassCleanup(lambda: self.dns.poll())
        try:
            self.place(("tally-3", 31415))
        finally:
            self.start_dns()
        self.assertIn("SRV lookup failed for hagi://tally.example.net/hits", self.rigs["tally-3"].log())
        self.assertEqual(self.rigs["tally-3"].heard(), [classic(self.before["hits"] + 1)])
        self.assertEqual(self.counted("hits"), 1)

    def test_without_any_node_callers_hear_that_they_shall_call_later(self):
        for name in NAMES:
            self.kill(name)
        self.place(("tally-1", 31415), ("tally-2", 31416))
        for name in NAMES:
            self.site.start(name)
        self.site.wait_counting(*NAMES)
        for name in ("tally-1", "tally-2"):
            self.assertEqual(self.rigs[name].heard(), [SORRY])
        self.assertEqual((self.counted("hits"), self.counted("tickets")), (0, 0))

    def test_a_call_is_taken_back_from_a_node_that_freezes(self):
        machine = self.site.machines["tally-1"]
        machine.sh("kill -STOP $(ps -o pid= -C tallyd)")
        self.place(("tally-1", 31416), ("tally-2", 31415))
        machine.sh("kill -CONT $(ps -o pid= -C tallyd)")
        self.assertEqual(self.rigs["tally-1"].heard(), [digits(self.before["tickets"] + 1)])
        self.assertEqual(self.rigs["tally-1"].nodes(), ["tally-2"])
        self.assertEqual(self.rigs["tally-2"].heard(), [classic(self.before["hits"] + 1)])
        # What the frozen node finds when it wakes up are callers who have gone.
        self.assertGreaterEqual(self.counted("tickets"), 1)
        self.assertGreaterEqual(self.counted("hits"), 1)

    def test_callers_of_three_asterisks_hear_a_number_each_while_a_node_is_killed(self):
        running = self.call(*((name, 31416, 20, 5) for name in NAMES))
        victim = self.rigs["tally-2"]
        eventually(lambda: len(victim.said()) >= 6, 60, "calls go on")
        self.kill("tally-2")
        eventually(lambda: len(victim.said()) >= 13, 60, "its callers hear of other nodes")
        self.start("tally-2")
        self.finish(running)
        said, asked = [], 0
        for name, rig in self.rigs.items():
            log = rig.log()
            calls = re.findall(r'SayNumber\("(\S+?)", "(\d+)"\)', log)
            self.assertEqual(len(calls), 20, f"{name}: every caller hears a number")
            self.assertEqual(len({channel for channel, _ in calls}), 20, f"{name}: and only one")
            said += list(zip(rig.nodes(), [int(number) for _, number in calls]))
            asked += log.count("AGI Tx >> agi_network: yes")
            self.assertCountEqual(rig.heard(), [digits(int(number)) for _, number in calls])
        self.assertLessEqual({"tally-1", "tally-2", "tally-3"}, {node for node, _ in said})
        self.assertIn("Connecting to '127.0.0.1:4573' failed", victim.log())
        self.assertLess(set(victim.nodes()) - {"tally-2"}, set(NAMES))
        counted = self.counted("tickets")
        self.assertGreaterEqual(counted, 60, "whoever heard a number is counted")
        self.assertLessEqual(counted, asked, "and nobody who never asked")
        self.assertEqual(len(said), len(set(said)), "no node says a number twice")


if __name__ == "__main__":
    unittest.main()

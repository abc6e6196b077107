"""Does what deploy/CLUSTER.md says, where it says so: its fenced blocks are run as they are, on machines
of machines.py and on a desk from which ssh reaches them."""

import json
import os
import re
import shutil
import subprocess
import tempfile

from harness import ROOT, TMP, die_with_parent, eventually, seconds
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
        self.lan = Lan()  # First, for it may raise SkipTest.
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
        return json.loads(self.machines[name].sh("tallyctl --json status", check=False))

    def wait_counting(self, *names):
        for name in names:
            eventually(lambda name=name: self.machines[name].sh("tallyctl --json status", check=False)
                       .count('"joining":false'), 40, f"{name} says numbers")

    def set_up(self):
        """Three machines, from nothing to a cluster that counts."""
        for number, name in enumerate(NAMES, 1):
            self.machine(name, f"192.0.2.{number}")
        self.follow("Set up", "Install")
        self.follow("Set up", "Configure")
        self.follow("Set up", "Keys")
        self.follow("Set up", "Bring the file")
        self.follow("Set up", "Firewall")
        self.follow("Set up", "Start")
        self.follow("Set up", "Start", 1)
        self.wait_counting(*NAMES)

    def totals(self, counter="hits"):
        return {name: self.machines[name].sh(f"tallyctl get {counter}", check=False).strip()
                for name in self.machines}

    def close(self):
        for machine in self.machines.values():
            machine.close()
        self.lan.close()
        shutil.rmtree(self.folder, ignore_errors=True)

"""A cluster of three nodes by deploy/cluster.conf, on machines of machines.py: for Asterisks that call it. How a real
one is set up is tests/package's."""

import os
import re
import shutil
import tempfile

from harness import BIN, ROOT, TMP, eventually
from machines import Lan, Machine

NAMES = ("tally-1", "tally-2", "tally-3")

INSTALL = f"""
ln -s '{BIN}'/* /usr/local/bin/
useradd --system --home-dir /var/lib/tally --shell /usr/sbin/nologin tally
mkdir -p /etc/tally
"""
START = "setsid -f tallyd -c /etc/tally/tally.conf >>/var/log/tally.log 2>&1"


class Site:
    """A network and the machines on it."""

    def __init__(self):
        self.lan = Lan()  # First, for it may raise SkipTest.
        os.makedirs(TMP, exist_ok=True)
        self.folder = tempfile.mkdtemp(prefix="site-", dir=TMP)
        self.machines = {}

    def set_up(self):
        with open(os.path.join(ROOT, "deploy", "cluster.conf"), encoding="utf-8") as file:
            conf = file.read()
        for number, name in enumerate(NAMES, 1):
            machine = self.machines[name] = Machine(self.lan, name, f"192.0.2.{number}", os.path.join(self.folder, name))
            machine.sh(INSTALL)
            self.configure(name, conf)
            key = re.search(r"(?m)^key +(\w{64})$", machine.sh("tallyd -c /etc/tally/tally.conf -k"))[1]
            conf = conf.replace(f"KEY-OF-{name}", key)
        for name in NAMES:
            self.configure(name, conf)
            self.start(name)
        self.wait_counting(*NAMES)

    def configure(self, name, conf):
        self.machines[name].sh(f"cat >/etc/tally/tally.conf <<'CONF'\n{conf}\nCONF")

    def start(self, name):
        self.machines[name].sh(START)

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

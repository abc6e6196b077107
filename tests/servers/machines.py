"""Whole machines for tests, as far as Tally sees them: each has a root file system of its own over this
one's, a host name, an address on a common network, and processes that nobody else sees. Their end leaves
nothing behind. Needs root."""

import contextlib
import os
import subprocess
import unittest

from harness import ROOT, die_with_parent, run, seconds

# Process 1 of a machine: sets it up, says so, and then only reaps. What is written goes to a tmpfs. The
# tree that is tested may lie on a file system of its own, which an overlay of "/" does not show.
INIT = r"""
set -e
mount -t tmpfs tally-test "$1"
cd "$1"
mkdir up work root tree_up tree_work
mount -t overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" overlay root
mount -t overlay -o "lowerdir=$2,upperdir=$1/tree_up,workdir=$1/tree_work" overlay "root$2"
mount -t proc proc root/proc
mount --rbind /dev root/dev
mount -t tmpfs tmpfs root/run
hostname "$3"
ip link set lo up
exec chroot root sh -c 'cd / && echo ready && exec >/dev/null && while :; do sleep 3600 & wait; done'
"""


class Space:
    """A process that holds namespaces open; they end with it."""

    def __init__(self, kinds, *command):
        self.holder = subprocess.Popen(
            ["unshare", *kinds, "--pid", "--fork", "--kill-child", "--", *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=die_with_parent)
        if self.holder.stdout.readline() != "ready\n":
            raise unittest.SkipTest(f"no namespaces: {self.holder.communicate()[1].strip()}")
        children = f"/proc/{self.holder.pid}/task/{self.holder.pid}/children"
        with open(children, encoding="ascii") as file:
            self.pid = int(file.read().split()[0])

    def close(self):
        self.holder.kill()
        self.holder.communicate()


class Lan:
    """A network 192.0.2.0/24 that machines are plugged into."""

    def __init__(self):
        if os.geteuid() != 0:
            raise unittest.SkipTest("machines need root")
        self.space = Space(["--net"], "sh", "-c", "echo ready; exec sleep infinity")
        self.plugs = 0
        bridge = run(*self.enter(), "ip", "link", "add", "lan", "type", "bridge", check=False)
        if bridge.returncode != 0:
            self.close()
            raise unittest.SkipTest(f"no bridge in this kernel: {bridge.stderr.strip()}")
        self.run("ip", "link", "set", "lan", "up")
        self.run("ip", "address", "add", "192.0.2.254/24", "dev", "lan")
        self.run("ip", "link", "set", "lo", "up")

    def enter(self):
        """What to put before a command that is to see this network alone."""
        return ["nsenter", "-t", str(self.space.pid), "--net"]

    def run(self, *command):
        return run(*self.enter(), *command)

    def plug(self, space, address):
        self.plugs += 1
        port = f"port{self.plugs}"
        run("ip", "link", "add", "name", "eth0", "netns", str(space.pid), "type", "veth",
            "peer", "name", port, "netns", str(self.space.pid))
        self.run("ip", "link", "set", port, "master", "lan", "up")
        inside = ["nsenter", "-t", str(space.pid), "--net", "ip"]
        run(*inside, "address", "add", f"{address}/24", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        return port

    def close(self):
        self.space.close()


class Machine:
    """A bare machine: nothing of Tally is installed; the tree that is tested lies where it does here."""

    def __init__(self, lan, name, address, folder):
        self.lan, self.name, self.address = lan, name, address
        os.makedirs(folder, exist_ok=True)
        self.space = Space(["--mount", "--uts", "--net", "--propagation", "private"],
                           "sh", "-c", INIT, "sh", folder, ROOT, name)
        self.port = lan.plug(self.space, address)

    def enter(self):
        return ["nsenter", "-t", str(self.space.pid), "--mount", "--uts", "--net", "--pid", "--root",
                "--wd", "--"]

    def network(self):
        """The same for a command that sees this machine's network and name, and the host's files."""
        return ["nsenter", "-t", str(self.space.pid), "--uts", "--net", "--"]

    def sh(self, script, limit=60, check=True):
        """Run a script as root of that machine; what it says on both streams."""
        done = subprocess.run([*self.enter(), "sh", "-euc", script], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=seconds(limit), preexec_fn=die_with_parent)
        if check and done.returncode != 0:
            raise AssertionError(f"{self.name}: {script}\nexit code {done.returncode}\n{done.stdout}")
        return done.stdout

    def unplug(self):
        """Cut its cable."""
        self.lan.run("ip", "link", "set", self.port, "down")

    def plug_in(self):
        self.lan.run("ip", "link", "set", self.port, "up")

    def close(self):
        """As if its power were cut."""
        self.space.close()

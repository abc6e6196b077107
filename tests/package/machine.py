"""A Debian 12 with a systemd of its own, booted by systemd-nspawn over a folder that it does not write to: no network
but its loopback and what it is plugged into (Lan of machines.py), and gone with the test."""

import glob
import os
import shutil
import subprocess

from harness import alive, die_with_parent, eventually, seconds

ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TERM": "dumb",
       "DEBIAN_FRONTEND": "noninteractive"}


def descendants(pid):
    """All processes below one, whatever their parents do meanwhile."""
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            with open(path, encoding="ascii") as file:
                children = [int(word) for word in file.read().split()]
        except OSError:
            continue
        for child in children:
            found += [child] + descendants(child)
    return found


def is_first(pid):
    """Whether it is the first process of a machine, which lives in a PID namespace within that of its nspawn."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            ids = next(line for line in file if line.startswith("NSpid:")).split()
        return len(ids) > 3 and ids[-1] == "1"
    except (OSError, StopIteration):
        return False


class Machine:
    number = 0

    def __init__(self, base, name, log):
        """base: the folder, a whole Debian; name: the host's; log: where its console goes."""
        self.base, self.name, self.log = base, name, log
        self.nspawn, self.pid = None, None

    def boot(self):
        self.switch_on()
        return self.wait_up()

    def switch_on(self):
        # Of all machines here, also those of other test runs, none has the same name; it is at most 64 bytes.
        Machine.number += 1
        with open(self.log, "ab") as log:
            # Read-only, so that several boot from one folder; what they write is in memory. Of its own session: what
            # it does to its terminal is nobody's matter. A killed nspawn leaves its machine running, so it is the first
            # process of a PID namespace, with which all in it end, however this run does.
            self.nspawn = subprocess.Popen(
                ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "systemd-nspawn", "--quiet", "--directory", self.base, "--read-only", "--volatile=overlay",
                 f"--machine=tally-test-{os.getpid()}-{Machine.number}", f"--hostname={self.name}",
                 "--register=no", "--keep-unit", "--private-network", "--console=pipe", "--boot"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=die_with_parent)

    def wait_up(self):
        self.pid = eventually(self._first, 20, "a machine begins to boot")
        eventually(lambda: self.run("systemctl", "is-system-running", check=False).stdout.strip() in
                   ("running", "degraded"), 60, "the machine has booted")
        return self

    def _first(self):
        if self.nspawn.poll() is not None:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                raise AssertionError(f"systemd-nspawn ended with {self.nspawn.returncode}:\n{file.read()[-2000:]}")
        return next((pid for pid in descendants(self.nspawn.pid) if is_first(pid)), None)

    def close(self):
        """As if its power were cut."""
        if self.nspawn:
            self.nspawn.kill()
            self.nspawn.wait()
            if self.pid:
                eventually(lambda: not alive(self.pid), 20, "the machine is off")
            self.nspawn = None

    def words(self, command):
        return ["nsenter", "--target", str(self.pid), "--all", "--root", "--wdns=/", "--", *command]

    def begin(self, *command):
        return subprocess.Popen(self.words(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, env=ENV, preexec_fn=die_with_parent)

    def run(self, *command, check=True, limit=60):
        """Run a program in it, as root, to its end: its output is on the result."""
        done = subprocess.run(self.words(command), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=seconds(limit), env=ENV, preexec_fn=die_with_parent)
        if check and done.returncode != 0:
            raise AssertionError(f"{self.name}: {' '.join(command)}: exit code {done.returncode}\n"
                                 f"{done.stdout}{done.stderr}")
        return done

    def sh(self, script, check=True, limit=60):
        """Run a script in it, as root: what it says on both streams."""
        return self.run("sh", "-euc", f"exec 2>&1\n{script}", check=check, limit=limit).stdout

    def path(self, path):
        """Where a file of it is seen from here."""
        return f"/proc/{self.pid}/root{path}"

    def read(self, path):
        with open(self.path(path), encoding="utf-8") as file:
            return file.read()

    def write(self, path, text):
        with open(self.path(path), "w", encoding="utf-8") as file:
            file.write(text)

    def put(self, file):
        """Copy a file to /srv in it."""
        shutil.copy(file, self.path("/srv/"))
        return f"/srv/{os.path.basename(file)}"

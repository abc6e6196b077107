"""A Debian 12 with a systemd of its own, booted by systemd-nspawn from a copy of a folder: no network but its
loopback, and gone with the test."""

import glob
import os
import shutil
import subprocess

from harness import die_with_parent, eventually, seconds


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
    """Whether it is the first process of a machine."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            ids = next(line for line in file if line.startswith("NSpid:")).split()
        return len(ids) > 2 and ids[-1] == "1"
    except (OSError, StopIteration):
        return False


class Machine:
    def __init__(self, base, folder, log):
        self.root = os.path.join(folder, "root")
        shutil.rmtree(self.root, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", base, self.root], check=True)
        self.log = log
        self.nspawn, self.first = None, None

    def boot(self):
        with open(self.log, "ab") as log:
            # Of its own session: what it does to its terminal is nobody's matter.
            self.nspawn = subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--directory", self.root, "--machine",
                 f"tally-{os.getpid()}-{os.path.basename(os.path.dirname(self.root))}",
                 "--register=no", "--keep-unit", "--private-network", "--console=pipe", "--boot"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=die_with_parent)
        self.first = eventually(self._first, 20, "a machine begins to boot")
        eventually(lambda: self.run("systemctl", "is-system-running", check=False).stdout.strip() in
                   ("running", "degraded"), 60, "the machine has booted")
        return self

    def _first(self):
        if self.nspawn.poll() is not None:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                raise AssertionError(f"systemd-nspawn ended with {self.nspawn.returncode}:\n{file.read()[-2000:]}")
        return next((pid for pid in descendants(self.nspawn.pid) if is_first(pid)), None)

    def close(self):
        if self.nspawn:
            below = descendants(self.nspawn.pid)
            self.nspawn.kill()
            self.nspawn.wait()
            # With a machine's first process all of its others end.
            if self.first in below and is_first(self.first):
                os.kill(self.first, 9)
        shutil.rmtree(self.root, ignore_errors=True)

    def words(self, command):
        return ["nsenter", "--target", str(self.first), "--all", "--root", "--wdns=/", *command]

    def begin(self, *command):
        return subprocess.Popen(self.words(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, preexec_fn=die_with_parent)

    def run(self, *command, check=True, limit=60):
        """Run a program in it, as root, to its end: its output is on the result."""
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TERM": "dumb",
               "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(self.words(command), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=seconds(limit), env=env, preexec_fn=die_with_parent)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def path(self, path):
        return self.root + path

    def read(self, path):
        with open(self.path(path), encoding="utf-8") as file:
            return file.read()

    def write(self, path, text):
        with open(self.path(path), "w", encoding="utf-8") as file:
            file.write(text)

    def put(self, file):
        """Copy a file to /root in it."""
        shutil.copy(file, self.path("/srv/"))
        return f"/srv/{os.path.basename(file)}"

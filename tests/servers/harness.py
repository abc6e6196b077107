"""What the whole-server tests share: it starts tallyd, plays Asterisk to it, and looks at what is left.

Environment:
  TALLY_BIN    folder of the programs under test (default: build/bin)
  TALLY_TMP    folder for state directories and logs (default: build/tests/tmp)
  TALLY_LONG   1 where time does not matter
  TALLY_SLOW   factor for time limits, for builds with a sanitizer (default 1)
  *_OPTIONS    of the sanitizers, passed on

Nothing here sleeps for luck: eventually() waits for a condition with a bound. Only processes that a test
started are ended, by process group: every tallyd leads one of its own.
"""

import atexit
import contextlib
import ctypes
import glob
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.abspath(os.environ.get("TALLY_BIN", os.path.join(ROOT, "build", "bin")))
TMP = os.path.abspath(os.environ.get("TALLY_TMP", os.path.join(ROOT, "build", "tests", "tmp")))
LONG = os.environ.get("TALLY_LONG") == "1"
SLOW = float(os.environ.get("TALLY_SLOW", "1"))

TALLYD = os.path.join(BIN, "tallyd")
TALLYCTL = os.path.join(BIN, "tallyctl")
AGICALL = os.path.join(BIN, "agicall")

# The hits flow without its second of waiting, and the silent scripts, under names of the tests'.
SCRIPTS = """
[script fast]
step = answer
step = count
step = stream-file queue-thereare
step = say-number
step = stream-file vm-goodbye
step = hangup
on-error = stream-file please-try-call-later
on-error = hangup
"""

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def seconds(limit):
    """A time limit, longer for slow builds."""
    return limit * SLOW


def eventually(condition, limit=10, what="the condition"):
    """Wait until condition() is true and return its value; after limit seconds the test fails."""
    end = time.monotonic() + seconds(limit)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds(limit):g} s")
        time.sleep(0.01)


_ports = {}  # port -> the socket that holds its name


def _claim(port):
    """Whether the port is this process's alone among tests, of all runs on this machine, until it ends: between the
    look at a port and the server on it, and while that is down, nobody else may be given it."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0tally-test-port-{port}")
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
    except OSError:
        claim.close()
        return False
    _ports[port] = claim
    return True


def free_port(count=1):
    """A port on which nothing listens, the first of `count` such in a row. They lie below the range that the kernel
    takes clients' ports from: a client that tries to reach a server which is just starting again could otherwise be
    given that very port, and be connected to itself."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        below = max(int(file.read().split()[0]), 10001 + count)
    for _ in range(1000):
        first = random.randrange(10000, below - count)
        if all(_claim(port) for port in range(first, first + count)):
            return first
    raise AssertionError("no free port")


def alone(why):
    """Of a test, or a class of tests: nothing runs beside it, because it measures what others would change. `why` is
    for the reader."""
    def mark(item):
        item.alone = why
        return item
    return mark


def raise_descriptor_limit(wanted):
    """Let this process (and agicall after it) have so many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise unittest.SkipTest(f"the hard limit of descriptors is {hard}, {wanted} are needed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # Whoever runs the tests in the background may have them ignore Ctrl-C, which a shell's trap cannot undo.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def alive(pid):
    """Whether a process runs: a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def memory_kib(pid, field="VmRSS"):
    """A figure of /proc/PID/status: VmRSS is what is resident, VmHWM the most that ever was."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return int(re.search(rf"^{field}:\s+(\d+) kB", file.read(), re.M).group(1))


def run(*command, limit=60, check=True, env=None):
    """Run a program to its end; its output is on the result as text, stdout and stderr apart."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", timeout=seconds(limit), env=env,
                          preexec_fn=die_with_parent)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n"
                             f"{done.stdout}{done.stderr}")
    return done


class Node:
    """One tallyd with a state directory of its own."""

    host = None  # netns.Host where it runs; None: on this one

    def __init__(self, folder, port=None, node="", fastagi="", log="", scripts=SCRIPTS, state=None,
                 workers=2):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.port = port or free_port()
        self.conf = os.path.join(folder, "tally.conf")
        self.state = state or os.path.join(folder, "state")
        self.log_path = os.path.join(folder, "tallyd.log")
        self.env = None  # tallyd's environment; None: as this process has it
        self.master = None  # subprocess.Popen
        self.groups = []
        self.write_conf(node, fastagi, log, scripts, workers)

    def write_conf(self, node="", fastagi="", log="", scripts=SCRIPTS, workers=2):
        """Make tally.conf; the texts are further lines of the sections."""
        with open(self.conf, "w", encoding="utf-8") as file:
            file.write(f"[node]\nname = test\nstate = {self.state}\n{node}\n"
                       f"[fastagi]\nlisten = 127.0.0.1:{self.port}\nworkers = {workers}\n{fastagi}\n"
                       f"[log]\n{log}\n{scripts}")

    def url(self, path=""):
        return f"agi://127.0.0.1:{self.port}/{path}"

    # Starting and ending

    def enter(self):
        """For a child between fork and exec: it ends with this process, and runs where the node does."""
        die_with_parent()
        if self.host:
            self.host.enter()

    def connect(self, limit):
        """A connection of a caller's."""
        if self.host:
            return self.host.connect("127.0.0.1", self.port, seconds(limit))
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds(limit))

    def launch(self):
        """Start tallyd and do not wait for anything."""
        with open(self.log_path, "ab") as log:
            self.master = subprocess.Popen([TALLYD, "-c", self.conf], stdin=subprocess.DEVNULL,
                                           stdout=log, stderr=log, start_new_session=True,
                                           preexec_fn=self.enter, env=self.env)
        self.groups.append(self.master.pid)
        return self

    def start(self):
        """Start tallyd and wait until it answers a call."""
        self.launch()
        self.wait_serving()
        return self

    def wait_serving(self, limit=20):
        def served():
            if self.master.poll() is not None:
                raise AssertionError(f"tallyd ended with {self.master.returncode}:\n{self.log()}")
            try:
                return call(self, "get", ["serving"]).ended
            except (OSError, AssertionError):
                return False
        eventually(served, limit, "tallyd serves")

    def refused(self, limit=20):
        """Start tallyd and expect that it refuses to run: its exit code and what it logged."""
        before = len(self.log())
        self.launch()
        try:
            code = self.master.wait(seconds(limit))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"tallyd runs:\n{self.log()[before:]}") from None
        return code, self.log()[before:]

    def stop(self, limit=40):
        """SIGTERM; tallyd must end with 0 and leave nobody behind."""
        self.master.send_signal(signal.SIGTERM)
        code = self.master.wait(seconds(limit))
        if code != 0:
            raise AssertionError(f"tallyd ended with {code} at SIGTERM:\n{self.log()[-4000:]}")
        eventually(lambda: not self.tree(), 5, "every process of the node has ended")

    def kill(self):
        """SIGKILL for the whole tree at one moment."""
        os.killpg(self.master.pid, signal.SIGKILL)
        self.master.wait()
        eventually(lambda: not self.tree(), 5, "the killed processes are gone")

    def close(self):
        """End whatever is left of it, stopped processes included."""
        for group in self.groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        if self.master:
            self.master.wait()

    # Its processes

    def tree(self):
        """pid -> command line of the processes of all its process groups."""
        found = {}
        for path in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(path, encoding="ascii", errors="replace") as file:
                    fields = file.read().rpartition(")")[2].split()
                if fields[0] in "ZX" or int(fields[2]) not in self.groups:
                    continue
                with open(path[:-4] + "cmdline", "rb") as file:
                    title = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            found[int(path.split("/")[2])] = title
        return found

    def pids(self, role):
        """The pids of one role, "worker" or "state", smallest first: titles say who is who."""
        return sorted(pid for pid, title in self.tree().items()
                      if title.startswith(f"tallyd: {role}"))

    def state_pid(self, other_than=None):
        """The state process's pid, waited for."""
        return eventually(lambda: next((p for p in self.pids("state") if p != other_than), None),
                          20, "a state process runs")

    def workers(self, count=2):
        """The workers' pids, waited for."""
        return eventually(lambda: (lambda p: p if len(p) == count else None)(self.pids("worker")),
                          20, f"{count} workers run")

    # What it says

    def log(self):
        if not os.path.exists(self.log_path):
            return ""
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_log(self, pattern, limit=10, start=0):
        return eventually(lambda: re.search(pattern, self.log()[start:]), limit,
                          f"/{pattern}/ is logged")

    def ctl(self, *words, check=True):
        return run(TALLYCTL, "-d", self.state, *words, check=check)

    def total(self, counter):
        """A counter's total as tallyctl says it: from the state process, or from disk if none runs."""
        return int(re.search(r"-?\d+", self.ctl("get", counter).stdout.split(counter)[-1]).group())


class Caller:
    """Asterisk's side of one call, byte by byte."""

    def __init__(self, node, path="fast", args=(), limit=10, env=None):
        self.sock = node.connect(limit)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        if path is not None:
            self.send(environment(node, path, args, env or {}))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def command(self):
        """The next command without its newline; None when the server closed."""
        while b"\n" not in self.buffer:
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                assert not self.buffer, f"half a command: {self.buffer!r}"
                return None
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode(errors="replace")

    def expect(self, pattern):
        """The next command, which must match."""
        got = self.command()
        assert got is not None and re.fullmatch(pattern, got), f"{got!r} is not /{pattern}/"
        return got

    def reply(self, text="200 result=0"):
        self.send(text + "\n")


def environment(node, path, args=(), env=None):
    """What Asterisk 22 sends first. env adds to it or replaces."""
    lines = {"agi_network": "yes", "agi_network_script": path, "agi_request": node.url(path),
             "agi_channel": "Local/1@default-00000000;2", "agi_language": "en", "agi_type": "Local",
             "agi_uniqueid": f"{time.time():.6f}", "agi_version": "22.10.1", "agi_callerid": "1234",
             "agi_calleridname": "Alice", "agi_callingpres": "0", "agi_callingani2": "0",
             "agi_callington": "0", "agi_callingtns": "0", "agi_dnid": "unknown",
             "agi_rdnis": "unknown", "agi_context": "default", "agi_extension": "1",
             "agi_priority": "1", "agi_enhanced": "0.0", "agi_accountcode": "",
             "agi_threadid": "140085793662656"}
    if not path:
        del lines["agi_network_script"]
    for number, arg in enumerate(args, 1):
        lines[f"agi_arg_{number}"] = arg
    lines.update(env or {})
    return "".join(f"{name}: {value}\n" for name, value in lines.items()) + "\n"


class Call:
    """What a whole call brought."""

    def __init__(self):
        self.commands = []
        self.variables = {}
        self.number = None  # what was said, or set as TALLY_NUMBER
        self.ended = False  # the server closed after a dialogue, in order
        self.seconds = 0.0

    def heard(self, command):
        self.commands.append(command)
        said = re.match(r"SAY (?:NUMBER|DIGITS) (\d+)", command)
        if said:
            self.number = int(said.group(1))
        variable = re.match(r'SET VARIABLE (\w+) "?(.*?)"?$', command)
        if variable:
            self.variables[variable.group(1)] = variable.group(2)
            if variable.group(1) == "TALLY_NUMBER" and variable.group(2):
                self.number = int(variable.group(2))


def answer_of(command):
    """What Asterisk answers to a command that works."""
    word = command.split()[0].upper()
    if word == "STREAM":
        return "200 result=0 endpos=18080"
    if word in ("SET", "HANGUP", "VERBOSE"):
        return "200 result=1"
    return "200 result=0"


def call(node, path="fast", args=(), limit=10, env=None, result=None):
    """Play one call to its end. With `result` the caller sees what was heard even if the call breaks
    off with an OSError."""
    result = result or Call()
    begun = time.monotonic()
    with Caller(node, path, args, limit, env) as caller:
        while (command := caller.command()) is not None:
            result.heard(command)
            caller.reply(answer_of(command))
            if command == "HANGUP":
                caller.send("HANGUP\n")
    result.ended = bool(result.commands)
    result.seconds = time.monotonic() - begun
    return result


class Callers:
    """Threads that place calls to one node one after another until told to stop; for tests which end
    processes meanwhile. A call that breaks off is not an error here: the test looks at `calls`."""

    def __init__(self, node, threads=4, path="count", args=("load",)):
        self.node, self.path, self.args = node, path, args
        self.calls = []  # Call, in the order in which they ended
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.finish()

    def finish(self):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def numbers(self):
        return [c.number for c in self.calls if c.number is not None]

    def _run(self):
        while not self._over.is_set():
            result = Call()
            try:
                call(self.node, self.path, self.args, limit=30, result=result)
            except (OSError, AssertionError):
                # Nobody listens, or he who did was killed.
                self._over.wait(0.005)
            if result.commands:
                self.calls.append(result)


class ServerTest(unittest.TestCase):
    """Gives each test a folder and looks at the sanitizers' reports afterwards."""

    def setUp(self):
        os.makedirs(TMP, exist_ok=True)
        # The name is short: a UNIX socket's path holds 107 bytes.
        self.folder = tempfile.mkdtemp(prefix="t-", dir=TMP)
        self.nodes = []
        self.mounts = []

    def tearDown(self):
        for node in self.nodes:
            node.close()
        for mount in self.mounts:
            run("umount", "-l", mount, check=False)
        logs = "".join(f"--- {node.log_path}\n{node.log()[-6000:]}" for node in self.nodes)
        for sign in ("AddressSanitizer", "ThreadSanitizer", "LeakSanitizer", "runtime error:",
                     "assertion", "Assertion"):
            if sign in logs:
                self.fail(f"{sign} in the log:\n{logs}")
        # A failure is recorded before tearDown comes; what was left of such a test stays to be looked at.
        result = self._outcome.result
        if any(test is self for test, _ in result.failures + result.errors):
            print(f"{self.folder} is kept\n{logs}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def node(self, name="n", **settings):
        """A node that is not yet started, closed after the test."""
        node = Node(os.path.join(self.folder, name), **settings)
        self.nodes.append(node)
        return node

    def small_disk(self, size):
        """A file system of its own, of `size` bytes."""
        if os.geteuid() != 0:
            self.skipTest("mounting a file system needs root")
        path = os.path.join(self.folder, "disk")
        os.makedirs(path, exist_ok=True)
        done = run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tally-test", path,
                   check=False)
        if done.returncode != 0:
            self.skipTest(f"cannot mount a tmpfs: {done.stderr.strip()}")
        self.mounts.append(path)
        # For a run that is interrupted: tearDown does not come then.
        atexit.register(run, "umount", "-l", path, check=False)
        return path

    def assertConsecutive(self, numbers, first=1):
        """Distinct, without a gap, from `first` on."""
        numbers = sorted(numbers)
        twice = [a for a, b in zip(numbers, numbers[1:]) if a == b]
        self.assertFalse(twice, f"said twice: {twice[:10]}")
        wanted = list(range(first, first + len(numbers)))
        if numbers != wanted:
            missing = sorted(set(wanted) - set(numbers))[:10]
            self.fail(f"{len(numbers)} numbers from {numbers[:1]} to {numbers[-1:]}, "
                      f"missing {missing}")

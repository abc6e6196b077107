"""The servers that are measured: Tally, and what it is compared with.

Bare    tests/bench/bare.c: the dialogue of `hits` from two processes, without checks or state
floor   tests/bench/floor.c: append and fdatasync in groups, in a program of its own (see counts.py)
Redis   appendonly yes, appendfsync always; as Debian has it, on loopback or its UNIX socket

Tally and Bare have as many processes for calls, and in all of them nothing is answered before it is where it
has to be: with Tally and Redis on disk, with Bare nowhere. Each is in a session of its own, and so is the load:
where the kernel groups processes by session, a busy machine would favour a server that is.
"""

import json
import os
import re
import shutil
import subprocess

from processes import Failed, begin, cpu_seconds, die_with_parent, end, text
from harness import AGICALL, BIN, Node, eventually, free_port  # noqa: E402

BENCH = os.path.abspath(os.environ.get("TALLY_BENCH", "build/bench"))  # where everything is written
WORK = os.path.join(BENCH, "work")
BENCH_IPC = os.path.join(BIN, "bench_ipc")
FLOOR = os.path.join(BIN, "floor")
# redis-tools holds the server's program under this name, which asks by what name it was called; the package
# redis-server would start a server of the machine's own.
REDIS_PROGRAM, REDIS_BENCHMARK = "/usr/bin/redis-check-rdb", "/usr/bin/redis-benchmark"

SCRIPTS = """
[script hits]
step = answer
step = wait {wait_ms}ms
step = count
step = stream-file queue-thereare
step = say-number
step = stream-file vm-goodbye
step = hangup
"""


def new_folder(name):
    folder = os.path.join(WORK, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder


class Measured(Node):
    """A node that can be looked at."""

    def processes(self):
        return list(self.tree())

    def cpu(self):
        return cpu_seconds(self.processes())

    def status(self):
        return json.loads(self.ctl("--json", "status", check=False).stdout)


class Tally(Measured):
    """A node of its own, new, with script `hits`."""

    name = "Tally"

    def __init__(self, wait_ms=0, calls=20000):
        super().__init__(new_folder("tally"), fastagi=f"calls = {calls}\nbacklog = 4096",
                         log="counters = 2000000", scripts=SCRIPTS.format(wait_ms=wait_ms))

    def __enter__(self):
        self.launch()
        self.wait_log("ready: serving FastAGI", 60)
        return self

    def __exit__(self, *_):
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

class Bare:
    name = "bare"
    PROCESSES = 2

    def __init__(self, wait_ms=0):
        self.wait_ms, self.process = wait_ms, None

    def __enter__(self):
        self.process = subprocess.Popen([os.path.join(BIN, "bare"), "-w", str(self.wait_ms),
                                         "-n", str(self.PROCESSES)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                        start_new_session=True, preexec_fn=die_with_parent)
        line = self.process.stdout.readline()
        found = re.match(r"listening on .*:(\d+)", line)
        if not found:
            raise Failed(f"bare says {line!r}")
        self.port = int(found.group(1))
        eventually(lambda: len(self.processes()) == self.PROCESSES, 20, "bare has forked")
        return self

    def __exit__(self, *_):
        end(self.process)

    def url(self, path=""):
        return f"agi://127.0.0.1:{self.port}/{path}"

    def processes(self):
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [pid] + [int(child) for child in file.read().split()]

    def cpu(self):
        return cpu_seconds(self.processes())


class Redis:
    """A server of its own folder. Its figures come from redis-benchmark, one request under way per client."""

    name = "Redis"

    @staticmethod
    def missing():
        """Why there is no Redis, or None."""
        for path in (REDIS_PROGRAM, REDIS_BENCHMARK):
            if not os.access(path, os.X_OK):
                return f"{path} is not there (Debian's redis-tools)"
        return None

    def __init__(self):
        self.folder = new_folder("redis")
        self.socket = os.path.join(self.folder, "s")
        self.program = os.path.join(self.folder, "redis-server")
        self.log = os.path.join(self.folder, "redis.log")
        self.port = free_port()
        self.process, self.starts = None, 0

    def __enter__(self):
        os.symlink(REDIS_PROGRAM, self.program)
        self.start()
        return self

    def start(self):
        """Start it and wait until it answers, so that it has read its log."""
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [self.program, "--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", self.socket,
                 "--dir", self.folder, "--appendonly", "yes", "--appendfsync", "always", "--save", "",
                 "--maxclients", "4000", "--daemonize", "no"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=die_with_parent)
        self.starts += 1
        try:
            eventually(lambda: self.said().count("now ready to accept connections at") == self.starts or
                       self.process.poll() is not None, 60, "Redis serves")
            if self.process.returncode is not None:
                raise Failed("Redis ended")
        except (AssertionError, Failed) as error:
            end(self.process)
            raise Failed(f"{error}:\n{self.said()}") from None

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def __exit__(self, *_):
        end(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def recover(self, counts):
        """Seconds that a start takes to read a log of so many increments, as Redis says it."""
        text(begin(REDIS_BENCHMARK, "-s", self.socket, "-c", 10, "-n", counts, "-P", 1000, "-q", "INCR", "load"))
        end(self.process)
        self.start()
        took = re.search(r"DB loaded from append only file: ([\d.]+) seconds", self.said())
        if not took:
            raise Failed(f"Redis does not say how long it took:\n{self.said()}")
        return float(took.group(1))

    def ask(self, *where, clients, requests):
        """Increments of one key. Returns rate, p50_us, p99_us, spread as bench_ipc's."""
        said = text(begin(REDIS_BENCHMARK, *where, "-c", clients, "-n", requests, "-P", 1, "--precision", 3,
                          "INCR", "load"))
        said = said.replace("\r", "\n")
        rate = re.search(r"throughput summary: ([\d.]+) requests per second", said)
        latency = re.search(r"avg +min +p50 +p95 +p99 +max\s+((?:[\d.]+\s+){6})", said)
        if not rate or not latency:
            raise Failed(f"redis-benchmark says\n{said[-2000:]}")
        _, _, p50, _, p99, most = (1000 * float(ms) for ms in latency.group(1).split())
        spread = [[float(share) / 100, 1000 * float(ms)]
                  for share, ms in re.findall(r"([\d.]+)% <= ([\d.]+) milliseconds", said.split("Cumulative")[0])]
        return {"rate": float(rate.group(1)), "p50_us": p50, "p99_us": p99, "max_us": most, "spread": spread}

    def load(self, seconds, clients):
        """For about so long over loopback and over its UNIX socket. Returns the better of the two."""
        best = None
        for where in (("-p", self.port), ("-s", self.socket)):
            guess = self.ask(*where, clients=clients, requests=max(200, 20 * clients))["rate"]
            result = self.ask(*where, clients=clients, requests=max(clients, int(guess * seconds)))
            if best is None or result["rate"] > best["rate"]:
                best = dict(result, over="loopback" if where[0] == "-p" else "its socket")
        return best


def count_load(node, seconds, connections, each, names=0):
    """Begin counts at a node through its IPC, as workers do."""
    return begin(BENCH_IPC, "load", "--connections", connections, "--each", each, "--seconds", seconds,
                 *(["--names", names] if names else []), node.state)


def milliseconds(seconds):
    """As the programs' options want a duration."""
    return f"{round(1000 * seconds)}ms"


def call_load(server, *options):
    """Begin calls of script `hits`."""
    return begin(AGICALL, "--load", "--json", *options, server.url("hits"))


"""A cluster in a storm: load on each of three hosts, and every few seconds something happens to the network, to
processes, to disks. At the end everything is well again, and everything has to add up.

What is drawn comes from one seed; what the processes make of it does not, so a seed repeats the weather, not
the run.
"""

import collections
import contextlib
import json
import os
import random
import re
import shutil
import signal
import time

from harness import SLOW, eventually, memory_kib, seconds

# What a process may ever have taken, by its title, in MiB and descriptors.
BOUNDS = {"master": (64, 64), "worker": (128, 1024), "state": (256, 256)}
CONVERGE = 60  # seconds until all are the same when all is well and nobody calls
CONNECT = 20  # seconds until all are connected when the network is well

# Lines of warning that such weather brings. Others, and any error or alarm, are not expected.
WEATHER = (r"peer \S+: nothing heard for 5 s",
           r"no peer to catch up with within join-wait: counting all the same",
           r"master: error: (worker 1|state) \(pid \d+\) was killed by SIGKILL: starting it again",
           r"the log ends in a torn .*")


class Storm:
    """`gentle`: nothing that ends a call. Then each call must go well, and be counted once."""

    def __init__(self, test, members, load, seed, gentle):
        self.test, self.members, self.start_load = test, members, load
        self.net, self.gentle = test.net, gentle
        self.random = random.Random(seed)
        self.events, self.loads = collections.Counter(), []
        self.most = collections.defaultdict(lambda: [0, 0])  # title -> MiB, descriptors
        self.archives = {member: [] for member in members}
        self.backup = {}  # member -> its state, as it was
        self.slowest = {"connect": 0.0, "converge": 0.0}

    def kinds(self):
        """Name -> what happens; names with their weights."""
        network = {self.isolated: 3, self.one_way: 3, self.pair_apart: 3, self.all_apart: 1,
                   self.bad_network: 4, self.well_again: 5, self.calm: 1}
        processes = {self.state_killed: 3, self.state_stopped: 2, self.worker_stopped: 1}
        rough = {self.node_killed: 4, self.worker_killed: 3, self.backed_up: 1, self.wiped: 1,
                 self.restored: 1}
        return {**network, **processes, **({} if self.gentle else rough)}

    def rage(self, duration):
        kinds = self.kinds()
        end = time.monotonic() + duration
        self.loads = [self.start_load(member) for member in self.members]
        while time.monotonic() < end:
            time.sleep(self.random.uniform(0.5, 4.0) * SLOW)  # the weather's own time
            event = self.random.choices(list(kinds), list(kinds.values()))[0]
            if event():
                self.events[event.__name__.replace("_", " ")] += 1
            self.look()
        self.well_again()
        self.stop_loads()
        self.slowest["converge at the end"] = self.converge()

    # The network

    def pick(self):
        return self.random.choice(self.members)

    def pair(self):
        return self.random.sample(self.members, 2)

    def isolated(self):
        self.net.isolate(self.pick().host)
        return True

    def one_way(self):
        one, other = self.pair()
        self.net.way(one.host, other.host, cut=True)
        return True

    def pair_apart(self):
        one, other = self.pair()
        self.net.link(one.host, other.host, cut=True)
        return True

    def all_apart(self):
        self.net.all(cut=True)
        return True

    def bad_network(self):
        chance = self.random
        for one in self.members:
            for other in self.members:
                if one is not other:
                    self.net.way(one.host, other.host, delay=chance.uniform(0, 0.08),
                                 jitter=chance.choice((0, 0, 0.01)),
                                 loss=chance.choice((0, 0.005, 0.02, 0.05)),
                                 duplicate=chance.choice((0, 0.01)),
                                 reorder=chance.choice((0, 0.02)),
                                 rate=chance.choice((0, 0, 0, 200000)))
        return True

    def well_again(self):
        self.net.all(cut=False, delay=0.005, jitter=0, loss=0, duplicate=0, reorder=0, rate=0)
        begun = time.monotonic()
        eventually(lambda: all(self.connected(m) == len(self.members) - 1 for m in self.members),
                   CONNECT, "all are connected when the network is well")
        self.slowest["connect"] = max(self.slowest["connect"], time.monotonic() - begun)
        return True

    def connected(self, member):
        """To how many others; a process that is just starting says nothing."""
        done = member.ctl("--json", "status", check=False)
        return json.loads(done.stdout or "{}").get("peers", {}).get("connected", 0)

    def calm(self):
        """Nobody calls for a moment: all come to the same."""
        self.well_again()
        with self.silence():
            self.slowest["converge"] = max(self.slowest["converge"], self.converge())
        return True

    @contextlib.contextmanager
    def silence(self):
        for load in self.loads:
            load.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for load in self.loads:
                load.process.send_signal(signal.SIGCONT)

    def converge(self):
        begun = time.monotonic()
        self.test.wait_same(self.members, CONVERGE)
        return time.monotonic() - begun

    # Processes

    def state_killed(self):
        member = self.pick()
        os.kill(member.state_pid(), signal.SIGKILL)
        return True

    def state_stopped(self):
        return self.stopped(self.pick().state_pid())

    def worker_stopped(self):
        return self.stopped(self.random.choice(self.pick().workers(1)))

    def stopped(self, pid):
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(self.random.uniform(0.5, 3))  # so long it is
        finally:
            os.kill(pid, signal.SIGCONT)
        return True

    def worker_killed(self):
        os.kill(self.random.choice(self.pick().workers(1)), signal.SIGKILL)
        return True

    def node_killed(self):
        member = self.pick()
        member.kill()
        member.launch()
        return True

    # Disks

    def backed_up(self):
        """As a machine's image is taken: of a node that does not run."""
        member = self.pick()
        member.kill()
        shutil.rmtree(self.backup.get(member, ""), ignore_errors=True)
        self.backup[member] = os.path.join(member.folder, "backup")
        shutil.copytree(member.state, self.backup[member], ignore=shutil.ignore_patterns("ipc"))
        member.launch()
        return True

    def wiped(self):
        member = self.pick()
        return self.lost(member, member.wipe)

    def restored(self):
        if not self.backup:
            return False
        member = self.random.choice(list(self.backup))

        def restore():
            shutil.rmtree(member.state)
            shutil.copytree(self.backup[member], member.state)
        return self.lost(member, restore)

    def lost(self, member, lose):
        """Take a node's disk. Only where the others hold all that it held, and one at a time: what no other node
        holds is lost with the disk, as everybody would expect, and the totals would not add up."""
        self.well_again()
        with self.silence():
            self.converge()
            member.kill()
            self.keep_log(member)
            lose()
            self.new_archive(member)
            member.launch()
        return True

    def keep_log(self, member):
        """Out of the node's reach: to see at the end that what all have lost in turn was the same, too."""
        kept = os.path.join(member.folder, f"lost-{len(self.archives[member])}")
        shutil.copytree(os.path.join(member.state, "log"), kept)
        self.archives[member].append(kept)

    def new_archive(self, member):
        """Another folder for old segments: those of another log have the same names."""
        folder = os.path.join(member.folder, f"archive-{len(self.archives[member])}")
        os.makedirs(folder)
        self.archives[member].append(folder)
        member.log_lines = re.sub(r"(?m)^archive = .*\n?", "", member.log_lines)
        member.log_lines += f"\narchive = {folder}\n"
        member.write_conf()

    # What is looked at

    def look(self):
        for member in self.members:
            for pid, title in member.tree().items():
                found = re.match(r"tallyd: (\w+)", title)
                try:
                    figures = (memory_kib(pid, "VmHWM") // 1024, len(os.listdir(f"/proc/{pid}/fd")))
                except (OSError, AttributeError):
                    continue  # It has just ended.
                role = found.group(1) if found else "master"
                most = self.most[role]
                most[:] = map(max, most, figures)
                bound = BOUNDS.get(role)
                if bound:
                    self.test.assertLessEqual(figures[0], bound[0] * SLOW, f"MiB of {title}")
                    self.test.assertLessEqual(figures[1], bound[1], f"descriptors of {title}")

    def stop_loads(self):
        for load in self.loads:
            load.process.send_signal(signal.SIGINT)
        self.results = [load.result(limit=60)[1] for load in self.loads]

    def unexpected(self):
        """Lines of the logs that such weather does not explain."""
        lines = "".join(member.log() for member in self.members).splitlines()
        return [line for line in lines if re.search(r"(warn|error|alarm):", line)
                and not any(re.search(pattern, line) for pattern in WEATHER)]

    def tell(self):
        """The figures, on standard output."""
        failures = collections.Counter()
        for result in self.results:
            failures.update(result["failures"])
        asked = sum(result["calls"] for result in self.results) - failures["no_connection"]
        answered = sum(result["numbers"] for result in self.results)
        print(f"events: {sum(self.events.values())}: " +
              ", ".join(f"{count} {name}" for name, count in self.events.most_common()))
        print("calls that failed:", dict(failures) or "none")
        print("longest, in seconds:", {k: round(v, 1) for k, v in self.slowest.items()})
        print("most MiB and descriptors:", {k: tuple(v) for k, v in self.most.items()})
        return asked, answered

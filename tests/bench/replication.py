"""Three nodes on this machine beside one node alone: throughput, replication delay, catch-up, CPU at rest.

Through FastAGI: `agicall --load` places calls of script `count`. Through the IPC: bench_ipc asks the state
processes as workers do, which leaves only what counting, syncing and replicating cost. One node and three
get as many counts at a time in all, and load generators share the machine with them.
"""

import os
import re
import shutil
import time

from figures import Series
from processes import begin, output
from rivals import BENCH_IPC, Measured, milliseconds, new_folder
from harness import AGICALL, TALLYD, eventually, free_port, run

CONNECTIONS = 2  # of bench_ipc to one node: as many as it has workers


class Member(Measured):
    """A node with the settings that it would have in earnest."""

    def __init__(self, name):
        self.name, self.peer_port, self.peers = name, free_port(), []
        super().__init__(new_folder(name))
        self.key = re.search(r"^key +(\w{64})$", run(TALLYD, "-c", self.conf, "-k").stdout,
                             re.M).group(1)

    def write_conf(self, *_, **__):
        with open(self.conf, "w", encoding="utf-8") as file:
            file.write(f"[node]\nname = {self.name}\nstate = state\npeer-listen = 127.0.0.1:{self.peer_port}\n"
                       f"[fastagi]\nlisten = 127.0.0.1:{self.port}\nworkers = 2\n")
            for peer in self.peers:
                file.write(f"[peer {peer.name}]\naddress = 127.0.0.1:{peer.peer_port}\nkey = {peer.key}\n")

    def knows(self, members):
        self.peers = members
        self.write_conf()

    def start(self):
        self.launch()
        eventually(lambda: "ready: serving FastAGI" in self.log(), 30, f"{self.name} serves")
        eventually(lambda: not self.status().get("joining", True), 30, f"{self.name} says numbers")
        return self


class Cluster:
    """So many nodes, new, and running."""

    def __init__(self, count):
        self.members = [Member(f"n{i}") for i in range(1, count + 1)]
        if count > 1:
            for member in self.members:
                member.knows(self.members)

    def __enter__(self):
        for member in self.members:
            member.launch()
        for member in self.members:
            eventually(lambda m=member: "ready: serving FastAGI" in m.log(), 30, "it serves")
        for member in self.members:
            eventually(lambda m=member: not m.status().get("joining", True), 30, "it says numbers")
        return self

    def __exit__(self, *_):
        for member in self.members:
            member.close()
            shutil.rmtree(member.folder, ignore_errors=True)

    def folders(self):
        return [os.path.relpath(member.state) for member in self.members]

    def equal(self):
        """All hold the same counts."""
        return len({member.status()["digest"] for member in self.members}) == 1


def fastagi(cluster, seconds, at_once=None, rate=None):
    """Begin calls at all nodes."""
    share = len(cluster.members)
    how = ["--rate", rate / share] if rate else ["--concurrency", max(1, at_once // share)]
    return [begin(AGICALL, "--load", "--json", *how, "--duration", milliseconds(seconds), member.url("count"),
                  "load") for member in cluster.members]


def ipc(cluster, seconds, at_once, half=None):
    """Begin counts at all nodes. half: at this rate in all, in messages of the same size."""
    share = len(cluster.members) * CONNECTIONS
    each = max(1, at_once // share)
    every = ["--every", int(1e6 * each * share / half)] if half else []
    return [begin(BENCH_IPC, "load", "--connections", CONNECTIONS, "--each", each, *every, "--seconds",
                  seconds, folder) for folder in cluster.folders()]


def rate(results):
    return sum(result["rate"] for result in results)


def throughput(report, settings, name, load, at_once):
    """Rounds of one node and of three, alternating. Returns the three's median rate."""
    rates, cpu = {1: Series(), 3: Series()}, {1: Series(), 3: Series()}
    for number in range(settings.few_rounds):
        for count in (1, 3):
            report.say(f"{count} nodes, {name}, {at_once} at a time, round {number + 1} of {settings.few_rounds}")
            with Cluster(count) as cluster:
                before = sum(m.cpu() for m in cluster.members)
                results = output(load(cluster, settings.seconds, at_once))
                used = sum(m.cpu() for m in cluster.members) - before
                rates[count].add(rate(results))
                cpu[count].add(1e6 * used / sum(r.get("counts", r.get("calls")) for r in results))
                eventually(cluster.equal, 60, "the nodes are equal")
    what = f"three nodes, {name}, {at_once} at a time in all"
    report.row("cluster", f"{what}: durable counts/s", rates[3], rates[1], "one node", "0.60 or more")
    report.row("cluster", f"{what}: CPU per count", cpu[3], cpu[1], "one node", unit="µs")
    return rates[3].median()


def delay(report, settings, name, load, at_once, half):
    """At half the load: from a count's answer until the two other nodes hold it."""
    p50, p99, most = Series(), Series(), Series()
    for _ in range(settings.few_rounds):
        report.say(f"replication delay, {name}, {half:,.0f} counts/s")
        with Cluster(3) as cluster:
            loads = load(cluster, settings.seconds + 1, half, at_once)
            time.sleep(0.5)  # until the load is there
            probe = output([begin(BENCH_IPC, "delay", "--seconds", settings.seconds, *cluster.folders())])[0]
            output(loads)
        p50.add(probe["p50_us"] / 1000)
        p99.add(probe["p99_us"] / 1000)
        most.add(probe["max_us"] / 1000)
    what = f"three nodes, {name}, {half:,.0f} counts/s: replication delay"
    report.row("cluster", f"{what}, p50", p50, unit="ms")
    report.row("cluster", f"{what}, p99", p99, goal="20 ms", unit="ms")
    report.row("cluster", f"{what}, longest", most, unit="ms")


def catch_up(report, settings, each, counts, goal):
    """A node that was away while the other counted."""
    rates, longest = Series(), Series()
    for _ in range(settings.few_rounds):
        report.say(f"catch-up of {counts:,} counts in blocks of {each}")
        with Cluster(2) as cluster:
            away = cluster.members[1]
            folder = cluster.folders()[0]
            output([begin(BENCH_IPC, "load", "--connections", 1, "--each", 1, "--counts", 1, folder)])
            eventually(cluster.equal, 30, "the nodes are equal")
            away.stop()
            output([begin(BENCH_IPC, "load", "--connections", 1, "--each", each, "--counts", counts, folder)])
            away.launch()
            eventually(lambda: os.path.exists(os.path.join(away.state, "ipc", "workers")) and
                       away.log().count("ready: serving FastAGI") == 2, 30, "it serves")
            result = output([begin(BENCH_IPC, "catchup", "--counts", counts, cluster.folders()[1])])[0]
            eventually(cluster.equal, 30, "the nodes are equal")
        rates.add(result["rate"])
        longest.add(result["max_us"] / 1000)
    what = f"catch-up of {counts:,} counts in blocks of {each}"
    report.row("cluster", f"{what}: counts/s", rates, goal=goal)
    report.row("cluster", f"{what}: longest answer meanwhile", longest, unit="ms")


def checkpoint(report, settings, counters):
    """A new node that gets a checkpoint of so many counters, because the log's beginning is gone."""
    took = Series()
    for _ in range(settings.few_rounds):
        report.say(f"a new node takes over {counters:,} counters")
        with Cluster(2) as cluster:
            here, new = cluster.members
            new.close()
            shutil.rmtree(os.path.join(new.state, "log"))
            here.stop()
            here.knows([])
            here.start()
            while here.status()["log"]["first"] == 0:
                output([begin(BENCH_IPC, "load", "--each", 1000, "--names", counters, "--counts", counters,
                              cluster.folders()[0])])
                here.ctl("checkpoint")
                eventually(lambda: not here.status()["busy"], 60, "the checkpoint is made")
            here.stop()
            here.knows([new])
            here.start()
            new.launch()
            eventually(lambda: "fetching a checkpoint" in new.log(), 60, "it is offered")
            begun = time.monotonic()
            eventually(lambda: "went over to a peer's checkpoint" in new.log(), 120, "it has it")
            took.add(time.monotonic() - begun)
            eventually(cluster.equal, 60, "the nodes are equal")
    report.row("cluster", f"a new node takes over a checkpoint of {counters:,} counters", took, unit="s")


def at_rest(report, seconds):
    report.say("three nodes at rest")
    with Cluster(3) as cluster:
        assert rate(output(fastagi(cluster, 1, 6))) > 0
        eventually(cluster.equal, 30, "the nodes are equal")
        time.sleep(3)  # what follows the last count, such as HAVE, is over
        before = sum(member.cpu() for member in cluster.members)
        time.sleep(seconds)
        used = sum(member.cpu() for member in cluster.members) - before
    report.row("cluster", f"three nodes at rest: CPU, of one, over {seconds} s", Series([100 * used / seconds]),
               goal="not measurable", unit="%")


def replication(report, settings):
    scale = 1 if settings.full else 10
    for name, load, half_load in (
            ("FastAGI", fastagi, lambda c, s, half, _: fastagi(c, s, rate=half)),
            ("IPC", ipc, lambda c, s, half, n: ipc(c, s, n, half))):
        for at_once in (64, 256) if settings.full else (64,):
            most = throughput(report, settings, name, load, at_once)
            delay(report, settings, name, half_load, at_once, most / 2)
    catch_up(report, settings, 64, 1000000 // scale, "200,000")
    catch_up(report, settings, 1, 50000 // scale, "")
    checkpoint(report, settings, 1000000 // scale)
    at_rest(report, 20 if settings.full else 5)

"""Measures three nodes on this machine beside one node alone, in alternating rounds, and prints one Markdown
table. Started by `sh tests/bench/run.sh --cluster`, which says what it takes. Nothing passes or fails.

Through FastAGI: `agicall --load` places calls of script `count`. Through the IPC: bench_ipc asks the state
processes as workers do, which leaves only what counting, syncing and replicating cost. One node and three
get as many counts at a time in all, and load generators share the machine with them.
"""

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "servers"))
from harness import BIN, TALLYD, AGICALL, Node, die_with_parent, eventually, free_port, run  # noqa: E402

BENCH_IPC = os.path.join(BIN, "bench_ipc")
WORK = os.path.join(os.environ.get("TALLY_BUILD", "build"), "bench", "cluster")
CONNECTIONS = 2  # of bench_ipc to one node: as many as it has workers
TICK = os.sysconf("SC_CLK_TCK")


class Member(Node):
    """A node with the settings that it would have in earnest."""

    def __init__(self, name):
        self.name, self.peer_port, self.peers = name, free_port(), []
        super().__init__(os.path.join(WORK, name))
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

    def status(self):
        return json.loads(self.ctl("--json", "status", check=False).stdout)

    def ticks(self):
        """CPU used so far by all its processes."""
        used = 0
        for pid in self.tree():
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
            used += int(fields[11]) + int(fields[12])
        return used


class Cluster:
    """So many nodes, new, and running."""

    def __init__(self, count):
        shutil.rmtree(WORK, ignore_errors=True)
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
        shutil.rmtree(WORK, ignore_errors=True)

    def folders(self):
        return [os.path.relpath(member.state) for member in self.members]

    def equal(self):
        """All hold the same counts."""
        return len({member.status()["digest"] for member in self.members}) == 1


def output(processes):
    """What each of these has printed, in JSON."""
    results = []
    for process in processes:
        text, _ = process.communicate()
        if process.returncode != 0:
            raise SystemExit(f"bench: {' '.join(process.args)}: exit code {process.returncode}\n{text}")
        results.append(json.loads(text))
    return results


def begin(*words):
    return subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True,
                            preexec_fn=die_with_parent)


def fastagi(cluster, seconds, at_once=None, rate=None):
    """Begin calls at all nodes."""
    share = len(cluster.members)
    how = ["--rate", rate / share] if rate else ["--concurrency", max(1, at_once // share)]
    return [begin(AGICALL, "--load", "--json", *how, "--duration", f"{seconds}s", member.url("count"),
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


def spread(values):
    """(most - least) / median, in percent."""
    return f"{100 * (max(values) - min(values)) / statistics.median(values):.0f} %"


class Table:
    def __init__(self):
        self.lines = ["| what | goal | figure | one node alone | ratio | spread: figure, one node |",
                      "|---|--:|--:|--:|--:|--:|"]

    def add(self, *cells):
        self.lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
        print(self.lines[-1], file=sys.stderr, flush=True)


def throughput(table, args, name, load, at_once):
    """Rounds of one node and of three, alternating. Returns the three's median rate."""
    alone, three, cpu = [], [], []
    for _ in range(args.rounds):
        for count, rates in ((1, alone), (3, three)):
            with Cluster(count) as cluster:
                before = [sum(m.ticks() for m in cluster.members), time.monotonic()]
                results = output(load(cluster, args.seconds, at_once))
                rates.append(rate(results))
                if count == 3:
                    cpu.append((sum(m.ticks() for m in cluster.members) - before[0]) / TICK /
                               (time.monotonic() - before[1]))
                    eventually(cluster.equal, 60, "the nodes are equal")
    table.add(f"{name}, {at_once} at a time: durable counts/s", "0.60 of one node",
              f"{statistics.median(three):,.0f}", f"{statistics.median(alone):,.0f}",
              f"{statistics.median(three) / statistics.median(alone):.2f}",
              f"{spread(three)}, {spread(alone)}")
    return statistics.median(three)


def delay(table, args, name, load, at_once, half):
    """At half the load: from a count's answer until the two other nodes hold it."""
    p50, p99, most = [], [], []
    for _ in range(args.rounds):
        with Cluster(3) as cluster:
            loads = load(cluster, args.seconds + 1, half, at_once)
            time.sleep(0.5)
            probe = output([begin(BENCH_IPC, "delay", "--seconds", args.seconds, *cluster.folders())])[0]
            output(loads)
        p50.append(probe["p50_us"] / 1000)
        p99.append(probe["p99_us"] / 1000)
        most.append(probe["max_us"] / 1000)
    table.add(f"{name}, {half:,.0f} counts/s: replication delay, p99 (p50, longest)", "20 ms",
              f"{statistics.median(p99):.1f} ms ({statistics.median(p50):.1f}, {max(most):.1f})", "", "",
              spread(p99))


def catch_up(table, args, each, counts, goal):
    """A node that was away while the other counted."""
    rates, longest = [], []
    for _ in range(args.rounds):
        with Cluster(2) as cluster:
            here, away = cluster.members
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
        rates.append(result["rate"])
        longest.append(result["max_us"] / 1000)
    table.add(f"catch-up of {counts:,} counts in blocks of {each}: counts/s (longest answer meanwhile)",
              goal, f"{statistics.median(rates):,.0f} ({statistics.median(longest):.1f} ms)", "", "",
              spread(rates))


def checkpoint(table, args, counters):
    """A new node that gets a checkpoint of so many counters, because the log's beginning is gone."""
    rates = []
    for _ in range(args.rounds):
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
            rates.append(time.monotonic() - begun)
            eventually(cluster.equal, 60, "the nodes are equal")
    table.add(f"a new node takes over a checkpoint of {counters:,} counters", "",
              f"{statistics.median(rates):.2f} s", "", "", spread(rates))


def at_rest(table, seconds):
    with Cluster(3) as cluster:
        fastagi_round = output(fastagi(cluster, 1, 6))
        assert rate(fastagi_round) > 0
        eventually(cluster.equal, 30, "the nodes are equal")
        time.sleep(3)
        before = sum(member.ticks() for member in cluster.members)
        time.sleep(seconds)
        used = sum(member.ticks() for member in cluster.members) - before
    table.add(f"three nodes at rest: CPU, of one, over {seconds} s", "not measurable",
              f"{100 * used / TICK / seconds:.2f} % ({used} ticks)", "", "", "")


def main():
    parser = argparse.ArgumentParser(prog="run.sh --cluster")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="fastagi,ipc,catchup,checkpoint,rest")
    args = parser.parse_args()
    only = args.only.split(",")
    scale = 10 if args.quick else 1
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    table = Table()
    for kind, name, load, half_load in (
            ("fastagi", "FastAGI", fastagi, lambda c, s, half, _: fastagi(c, s, rate=half)),
            ("ipc", "IPC", ipc, lambda c, s, half, n: ipc(c, s, n, half))):
        if kind not in only:
            continue
        for at_once in (64, 256):
            most = throughput(table, args, name, load, at_once)
            delay(table, args, name, half_load, at_once, most / 2)
    if "catchup" in only:
        catch_up(table, args, 64, 1000000 // scale, "200,000")
        catch_up(table, args, 1, 50000 // scale, "")
    if "checkpoint" in only:
        checkpoint(table, args, 1000000 // scale)
    if "rest" in only:
        at_rest(table, 20)
    print("\n".join(table.lines))
    load = os.getloadavg()
    print(f"\n{args.rounds} rounds of {args.seconds} s, medians; spread is (most - least) / median; {os.cpu_count()} "
          f"CPUs, load generators on the same; load {load[0]:.1f} at the end; {os.uname().release}")


if __name__ == "__main__":
    main()

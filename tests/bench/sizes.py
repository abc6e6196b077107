"""What counts and calls take that is no matter of speed: bytes between nodes, in a checkpoint and in the kernel.

The constants of deploy/CAPACITY.md that no other part has. Bytes on the wire are what the kernel says of the
connections between the nodes, with 66 for the headers of each segment (Ethernet, IPv4, TCP with time stamps),
acknowledgements included.
"""

import glob
import os
import re
import subprocess
import time

from calls import sockets_of
from counters import fill, make_checkpoint
from figures import Series
from processes import Failed, begin, end, output
from replication import Cluster
from rivals import BENCH_IPC, Tally, call_load
from harness import eventually

HEADERS = 66   # bytes of a segment
WAIT_MS = 300 * 1000
CALLS = 4000


def wire_bytes(cluster):
    """Sent so far on the connections between the nodes, in all."""
    ports = " or ".join(f"sport = :{m.peer_port} or dport = :{m.peer_port}" for m in cluster.members)
    said = subprocess.run(["ss", "-tinOH", "state", "established", f"( {ports} )"], capture_output=True, text=True,
                          check=True).stdout
    if not said:
        raise Failed("ss (Debian's iproute2) sees no connection between the nodes")
    return sum(int(number) * (HEADERS if what == "segs_out" else 1)
               for what, number in re.findall(r"\b(bytes_sent|segs_out):(\d+)", said))


def sent_in(cluster, seconds, rate):
    """Bytes a second, and counts, while one of the nodes counts at this rate, one count at a time."""
    before, begun = wire_bytes(cluster), time.monotonic()
    if rate:
        counts = output([begin(BENCH_IPC, "load", "--connections", 1, "--each", 1, "--every", int(1e6 / rate),
                               "--seconds", seconds, cluster.folders()[0])])[0]["counts"]
    else:
        counts = 0
        time.sleep(seconds)
    took = time.monotonic() - begun
    return (wire_bytes(cluster) - before) / took, counts / took


def network(report, settings, nodes):
    report.say(f"bytes between {nodes} nodes")
    links = nodes * (nodes - 1)  # one way
    with Cluster(nodes) as cluster:
        sent_in(cluster, 1, 100)
        eventually(cluster.equal, 30, "the nodes are equal")
        time.sleep(3)  # what follows the last count, such as HAVE, is over
        rest = sent_in(cluster, 3 * settings.seconds, 0)[0]
        report.row("sizes", f"{nodes} nodes at rest: from each node to each other", Series([rest / links]),
                   unit="bytes/s")
        for rate in (10, 100, 1000):
            total, counts = sent_in(cluster, settings.seconds, rate)
            report.row("sizes", f"{nodes} nodes, {rate:,} counts/s at one of them: wire per count and other node",
                       Series([(total - rest) / counts / (nodes - 1)]), unit="bytes")


def checkpoint_bytes(names):
    with Tally() as node:
        fill(node, names)
        make_checkpoint(node)
        newest = max(glob.glob(os.path.join(node.state, "log", "*.checkpoint")))
        return os.path.getsize(newest)


def slab_bytes():
    with open("/proc/meminfo", encoding="ascii") as file:
        return 1024 * int(re.search(r"^Slab: +(\d+) kB", file.read(), re.M).group(1))


def kernel_memory(report):
    """Of a connection that waits. Both of its ends are on this machine."""
    report.say("kernel memory of calls")
    with Tally(WAIT_MS) as node:
        pids = node.processes()
        sockets, before = sockets_of(pids), slab_bytes()
        load = call_load(node, "--concurrency", CALLS, "--calls", CALLS, "--timeout", "600s")
        try:
            eventually(lambda: sockets_of(pids) - sockets >= CALLS, 30, "all calls wait")
            time.sleep(1)
            report.row("sizes", f"kernel memory of one end of a connection, {CALLS:,} waiting",
                       Series([(slab_bytes() - before) / 2 / CALLS / 1024]), unit="KiB")
        finally:
            end(load)


def sizes(report, settings):
    few, many = 300000, 400000  # names of as many bytes, and as many requests remembered: all there is room for
    checkpoint = checkpoint_bytes(many)
    per = (checkpoint - checkpoint_bytes(few)) / (many - few)
    report.row("sizes", "checkpoint: per counter with a name of 11", Series([per]), unit="bytes")
    report.row("sizes", "checkpoint: all else", Series([(checkpoint - per * many) / 1024]), unit="KiB")
    for nodes in (3, 5, 7) if settings.full else (3,):
        network(report, settings, nodes)
    kernel_memory(report)

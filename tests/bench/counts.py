"""Durable counts: Tally's state process through its IPC, Redis, and the floor, with as many requests under way.

Tally and the floor are asked by two connections with half of the requests each, in one message, which is how two
workers ask; one request at a time comes over one connection. Redis has a client for each request, since
that is how its users ask it, and the better of loopback and UNIX socket counts.
"""

import os

from figures import Series
from processes import begin, output
from rivals import FLOOR, WORK, Redis, Tally, count_load

LOADS = (1, 16, 64, 256, 1024)
GOALS = {64: "2.00 or more", 256: "4.00 or more"}


def message(outstanding):
    """Connections, and requests in each one's message."""
    return (1, 1) if outstanding == 1 else (2, outstanding // 2)



def tally_round(node, outstanding, seconds):
    before = node.status()
    result = output([count_load(node, seconds, *message(outstanding))])[0]
    after = node.status()
    result["bytes"] = (after["log"]["end"] - before["log"]["end"]) / (after["counts"] - before["counts"])
    return result


def floor_round(outstanding, seconds):
    connections, each = message(outstanding)
    return output([begin(FLOOR, "--connections", connections, "--each", each, "--seconds", seconds,
                         os.path.join(WORK, "floor"))])[0]


def durable(report, settings):
    results = {}  # (whose, outstanding) -> each round's
    for number in range(settings.rounds):
        with Tally() as node:
            for outstanding in LOADS:
                report.say(f"durable counts, {outstanding} outstanding, round {number + 1} of {settings.rounds}")
                results.setdefault(("floor", outstanding), []).append(
                    floor_round(outstanding, settings.seconds))
                results.setdefault(("Tally", outstanding), []).append(
                    tally_round(node, outstanding, settings.seconds))
                if settings.redis:
                    with Redis() as redis:
                        results.setdefault(("Redis", outstanding), []).append(
                            redis.load(settings.seconds / 2, outstanding))
    for outstanding in LOADS:
        rows_of(report, outstanding, lambda whose, n=outstanding: results.get((whose, n), []))
    report.data["counts"] = [
        {"server": whose, "outstanding": outstanding, "rate": series(rounds, "rate").median(),
         "p50_us": series(rounds, "p50_us").median(), "p99_us": series(rounds, "p99_us").median(),
         "spread": rounds[0]["spread"]}
        for (whose, outstanding), rounds in results.items()]


def series(rounds, name):
    return Series(r[name] for r in rounds)


def rows_of(report, outstanding, rounds_of):
    tally, floor, redis = (rounds_of(whose) for whose in ("Tally", "floor", "Redis"))
    what = f"durable counts, {outstanding:,} outstanding"
    if redis:
        report.row("counts", f"{what}: counts/s", series(tally, "rate"), series(redis, "rate"), "Redis",
                   GOALS.get(outstanding, ""))
    report.row("counts", f"{what}: counts/s", series(tally, "rate"), series(floor, "rate"), "floor")
    base, whose = (redis, "Redis") if redis else (floor, "floor")
    for name in ("p50", "p99"):
        goal = "below 1,500 µs" if (name, outstanding) == ("p99", 256) else ""
        report.row("counts", f"{what}: {name}", series(tally, f"{name}_us"), series(base, f"{name}_us"), whose,
                   goal, "µs")
    report.row("counts", f"{what}: log per count", series(tally, "bytes"), goal="40 bytes" if outstanding == 64
               else "", unit="bytes")

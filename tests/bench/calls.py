"""Calls through FastAGI: how many a second, at what cost in CPU, how many may arrive, and what one that waits takes."""

import contextlib
import os
import resource
import time

from figures import Series
from processes import Failed, end, output, resident_kib
from rivals import Bare, Tally, call_load, milliseconds
from harness import eventually

EXITS = (0, 1, 4)  # agicall's, with calls that failed among them
SERVERS = (Bare, Tally)


def one_round(server_of, at_once, seconds):
    with server_of(0) as server:
        used = server.cpu()
        result = output([call_load(server, "--concurrency", at_once, "--duration", milliseconds(seconds))], EXITS)[0]
        used = server.cpu() - used
    return result, 1e6 * used / max(1, result["calls"])


def closed_loop(report, settings):
    """`hits` with wait 0, so many calls at a time."""
    data = report.data.setdefault("calls", [])
    for at_once in (1, 8, 64, 512):
        rate, cpu = {Bare: Series(), Tally: Series()}, {Bare: Series(), Tally: Series()}
        p50, p99 = {Bare: Series(), Tally: Series()}, {Bare: Series(), Tally: Series()}
        for number in range(settings.rounds):
            report.say(f"hits, {at_once} at a time, round {number + 1} of {settings.rounds}")
            for server_of in SERVERS:
                result, us = one_round(server_of, at_once, settings.seconds)
                if result["failed"]:
                    report.note(f"{server_of.name}, {at_once} at a time: {result['failed']} of "
                                f"{result['calls']} calls failed: {result['failures']}")
                rate[server_of].add(result["rate"])
                cpu[server_of].add(us)
                p50[server_of].add(result["latency_us"]["whole_call"]["p50"])
                p99[server_of].add(result["latency_us"]["whole_call"]["p99"])
        goals = ("0.85 or more", "1.30 or less") if at_once == 64 else ("", "")
        what = f"`hits`, wait 0, {at_once} at a time"
        report.row("calls", f"{what}: calls/s", rate[Tally], rate[Bare], "bare", goals[0])
        report.row("calls", f"{what}: CPU per call", cpu[Tally], cpu[Bare], "bare", goals[1], "µs")
        report.row("calls", f"{what}: p99 of a call", p99[Tally], p99[Bare], "bare", "", "µs")
        for server_of in SERVERS:
            data.append({"server": server_of.name, "at_once": at_once, "rate": rate[server_of].median(),
                         "p50_us": p50[server_of].median(), "p99_us": p99[server_of].median()})


# The highest arrival rate

LATE_US = 1100000  # a second's wait, and 100 ms
GENERATORS = 2     # one has no descriptors for what arrives in a second


def holds(server, rate, seconds):
    """Whether calls that arrive at this rate are all served, and in time. One disturbance does not settle it."""
    return any(held(server, rate, seconds) for _ in range(2))


def held(server, rate, seconds):
    loads = [call_load(server, "--rate", rate / GENERATORS, "--duration", milliseconds(seconds), "--timeout", "5s")
             for _ in range(GENERATORS)]
    results = output(loads, EXITS)
    return all(r["failed"] == 0 and r["latency_us"]["whole_call"]["p99"] < LATE_US for r in results)


def highest_rate(server_of, settings, start):
    """Double while it holds, then halve the step; then hold it for the full time, or a little less of it."""
    with server_of(1000) as server:
        good, step = 0, start
        while good < 10 * start and holds(server, good + step, settings.probe_seconds):
            good += step
            step = good
        while step > max(start / 8, good / 16):
            step /= 2
            if holds(server, good + step, settings.probe_seconds):
                good += step
        while good >= start / 8:
            if holds(server, good, settings.hold_seconds):
                return good
            good *= 0.95
    return 0


def arrivals(report, settings):
    rate = {Bare: Series(), Tally: Series()}
    for number in range(settings.few_rounds):
        for server_of in SERVERS:
            report.say(f"highest arrival rate of {server_of.name}, round {number + 1} of {settings.few_rounds}")
            rate[server_of].add(highest_rate(server_of, settings, 2000))
    report.row("arrivals", f"`hits`, wait 1 s: calls/s that may arrive for {settings.hold_seconds} s, none failed, "
               "p99 below 1.1 s", rate[Tally], rate[Bare], "bare", "0.80 or more")


# Memory

WAIT_MS = 300 * 1000  # longer than it takes for all to come


def most_calls():
    """What two workers have descriptors for, though one takes more than the other, and callers ports."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        first, last = (int(word) for word in file.read().split())
    return int(min(1.4 * resource.getrlimit(resource.RLIMIT_NOFILE)[1], 0.9 * (last - first)) // 1000 * 1000)


def memory_at(server, calls):
    """Resident KiB of all its processes with so many calls waiting."""
    loads = []
    pids = server.processes()
    before = sockets_of(pids)
    try:
        if calls:
            loads = [call_load(server, "--concurrency", calls // GENERATORS, "--calls", calls // GENERATORS,
                               "--timeout", "600s")
                     for _ in range(GENERATORS)]
            eventually(lambda: sockets_of(pids) - before >= calls, 60, f"{calls} calls wait")
            time.sleep(0.5)  # until those that came last have said what they want
        return resident_kib(pids)
    finally:
        for load in loads:
            end(load)
        if loads:
            eventually(lambda: sockets_of(pids) <= before, 60, "all calls are gone")


def sockets_of(pids):
    total = 0
    for pid in pids:
        for link in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                total += os.readlink(link.path).startswith("socket:")
    return total


def memory(report, settings):
    loads = [0, 2000] + ([10000, most_calls()] if settings.full else [])
    data = report.data.setdefault("memory", [])
    kib = {server_of: {calls: Series() for calls in loads} for server_of in SERVERS}
    for number in range(settings.few_rounds):
        for server_of in SERVERS:
            for calls in loads:
                report.say(f"memory of {server_of.name} with {calls:,} calls, round {number + 1}")
                try:
                    with server_of(WAIT_MS) as server:
                        kib[server_of][calls].add(memory_at(server, calls))
                except AssertionError as error:
                    raise Failed(f"{server_of.name}: {error}") from None
    for calls in loads:
        each = {s: Series((a - b) / calls for a, b in zip(kib[s][calls].values, kib[s][0].values)) if calls
                else Series(value / 1024 for value in kib[s][0].values) for s in SERVERS}
        if calls:
            report.row("memory", f"resident memory per call, {calls:,} waiting", each[Tally], each[Bare], "bare",
                       "1.00 KiB", "KiB")
        else:
            report.row("memory", "resident memory of the idle node", each[Tally], each[Bare], "bare",
                       "below 40 MiB", "MiB")
        for server_of in SERVERS:
            data.append({"server": server_of.name, "calls": calls, "kib": kib[server_of][calls].median()})

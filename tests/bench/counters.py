"""A node with few and with very many counters: its speed, its memory, and its answers while it makes a checkpoint."""

import time

from figures import Series
from processes import Failed, begin, output, resident_kib
from rivals import BENCH_IPC, Tally, count_load
from harness import eventually

EACH = 32  # of two connections


def fill(node, names):
    """So many counters, each counted once."""
    output([begin(BENCH_IPC, "load", "--connections", 1, "--each", min(1000, names), "--names", names, "--counts", names,
                  node.state)])
    if node.status()["counters"] < names:
        raise Failed(f"{names:,} counters were to be made, {node.status()['counters']:,} are there")


def make_checkpoint(node):
    before = node.status()["checkpoint"]
    node.ctl("checkpoint")
    eventually(lambda: not node.status()["busy"] and node.status()["checkpoint"] != before, 60,
               "the checkpoint is made")


def list_counters(node):
    node.ctl("--json", "counters")


def export(node):
    node.ctl("export")


# What must not make callers wait, however many counters there are.
DURING = {"checkpoint": make_checkpoint, "list": list_counters, "export": export}


def slowest_answer(node, seconds, during):
    """One count at a time, with something done meanwhile. Longest answer in ms, and how many seconds that took."""
    load = count_load(node, seconds, 1, 1, 1)
    time.sleep(0.3)
    begun = time.monotonic()
    during(node)
    took = time.monotonic() - begun
    return output([load])[0]["max_us"] / 1000, took


def counters(report, settings):
    sizes = (1, 1000, 1000000 if settings.full else 100000)
    rate = {names: Series() for names in sizes}
    memory = {names: Series() for names in sizes}
    quiet, slow, took = Series(), {what: Series() for what in DURING}, {what: Series() for what in DURING}
    for number in range(settings.few_rounds):
        for names in sizes:
            report.say(f"{names:,} counters, round {number + 1} of {settings.few_rounds}")
            with Tally() as node:
                fill(node, names)
                rate[names].add(output([count_load(node, settings.seconds, 2, EACH, names)])[0]["rate"])
                memory[names].add(resident_kib(node.processes()) / 1024)
                if names == sizes[-1]:
                    quiet.add(slowest_answer(node, settings.seconds + 1, lambda node: None)[0])
                    for what, during in DURING.items():
                        longest, seconds = slowest_answer(node, settings.seconds + 1, during)
                        slow[what].add(longest)
                        took[what].add(seconds)
    for names in sizes:
        report.row("counters", f"{2 * EACH} outstanding, of {names:,} counters in turn: counts/s", rate[names],
                   rate[1], "1 counter:")
        report.row("counters", "the same: resident memory of the whole node afterwards", memory[names], memory[1],
                   "1 counter:", "below 40 MiB" if names == 1 else "", "MiB")
    for what in DURING:
        name = f"{what} of {sizes[-1]:,} counters"
        report.row("counters", f"{name}: longest answer meanwhile", slow[what], quiet, "without:", "below 50 ms", "ms")
        report.row("counters", f"{name}: time", took[what], unit="s")

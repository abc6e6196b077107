"""The bench: runs its parts one after another, then prints the table and draws the pictures. See run.sh."""

import argparse
import os
import resource
import shutil
import signal
import sys
import time
import traceback

import pictures
from calls import arrivals, closed_loop, memory
from counters import counters
from counts import durable
from figures import Report
from recovery import recovery
from replication import replication
from rivals import BENCH, WORK, Redis
from sizes import sizes
from soak import soak

PARTS = {"calls": closed_loop, "arrivals": arrivals, "memory": memory, "counts": durable, "counters": counters,
         "recovery": recovery, "cluster": replication, "sizes": sizes, "soak": soak}


class Settings:
    """How much is measured; seconds are the length of a round."""

    def __init__(self, options):
        self.full = not options.quick
        self.rounds = options.rounds or (5 if self.full else 2)
        self.few_rounds = min(self.rounds, 3 if self.full else 1)  # of what takes long
        self.seconds = options.seconds or (3 if self.full else 1)
        self.probe_seconds, self.hold_seconds = (3, 10) if self.full else (1, 3)
        self.soak_seconds = 60 * options.soak
        self.redis = True


def say(text, keep=False):
    """What is under way, on a terminal; what is to stay, anywhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:100] if not keep else text}", end="\n" if keep else "", file=sys.stderr, flush=True)
    elif keep:
        print(text, file=sys.stderr, flush=True)


def options_of(words):
    parser = argparse.ArgumentParser(prog="run.sh", add_help=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--soak", type=float, default=0)
    parser.add_argument("--only", default="")
    options = parser.parse_args(words)
    options.parts = [part for part in options.only.split(",") if part]
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"no part {part}; there are {', '.join(PARTS)}")
    if not options.parts:
        options.parts = [part for part in PARTS if part not in ("sizes", "soak")]
    if options.soak and "soak" not in options.parts:
        options.parts.append("soak")
    if "soak" in options.parts and not options.soak:
        options.soak = 10
    return options


def run_part(name, report, settings):
    """A part that fails leaves its rows out, and says why; the others go on."""
    try:
        PARTS[name](report, settings)
    except Exception as error:  # whatever it is, half an hour of figures is not thrown away for it
        report.note(f"{name}: rows are left out: {error}")
        with open(os.path.join(BENCH, "errors.log"), "a", encoding="utf-8") as file:
            traceback.print_exc(file=file)


def write(report, words):
    """All there is so far, and the pictures of it. Returns their paths."""
    with open(os.path.join(BENCH, "table.md"), "w", encoding="utf-8") as file:
        file.write(words + "\n")
    report.save(os.path.join(BENCH, "figures.json"))
    return [] if pictures.missing() else pictures.draw(report.data, BENCH)


def machine(settings, load_before, began):
    load = os.getloadavg()[0]
    return (f"{settings.rounds} rounds of {settings.seconds:g} s ({settings.few_rounds} of what takes long), "
            f"alternating; medians; a ratio is the median of the rounds' ratios; spread is (most - least) / median; "
            f"{os.cpu_count()} CPUs, load generators on the same; load average {load_before:.1f} before, {load:.1f} "
            f"after; {os.uname().sysname} {os.uname().release}; {(time.monotonic() - began) / 60:.0f} minutes.")


def main():
    options = options_of(sys.argv[1:])
    settings = Settings(options)
    report = Report(say)
    load, began = os.getloadavg()[0], time.monotonic()
    if load > 1:
        report.note(f"the machine was busy before the bench began (load average {load:.1f}): the figures are poor")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.makedirs(BENCH, exist_ok=True)
    if {"counts", "recovery"} & set(options.parts) and (why := Redis.missing()):
        settings.redis = False
        report.note(f"rows beside Redis are left out: {why}")
    if why := pictures.missing():
        report.note(f"no pictures: {why}")

    def words():
        return "\n".join([report.markdown(), "", machine(settings, load, began)] +
                         [f"- {note}" for note in report.notes])

    try:
        for name in options.parts:
            run_part(name, report, settings)
            drawn = write(report, words())
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
    say("")
    print(words())
    if drawn:
        print("Pictures: " + ", ".join(os.path.relpath(path) for path in drawn), file=sys.stderr)


if __name__ == "__main__":
    main()

"""Processes that the bench starts, and what they use. Every one ends with the bench."""

import contextlib
import glob
import json
import os
import re
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "servers"))
from harness import die_with_parent  # noqa: E402

LIMIT = 300  # seconds for a program that measures, beyond what it was told


class Failed(Exception):
    """A part of the bench cannot go on; the others can."""


def begin(*words, cwd=None):
    return subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, errors="replace", cwd=cwd,
                            preexec_fn=die_with_parent)


def text(process, codes=(0,)):
    """What it printed, once it has ended."""
    try:
        out, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        end(process)
        raise Failed(f"{process.args[0]} did not end within {LIMIT} s") from None
    if process.returncode not in codes:
        raise Failed(f"{' '.join(process.args)}: exit code {process.returncode}\n{out}{errors}")
    return out


def output(processes, codes=(0,)):
    """What each of these has printed, in JSON."""
    return [json.loads(text(process, codes)) for process in processes]


def end(process, number=signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


def cpu_seconds(pids):
    """CPU used so far by these processes' threads, in seconds, finer than the ticks of /proc/PID/stat."""
    used = 0
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
                used += int(file.read().split()[0])
    return used / 1e9


def resident_kib(pids):
    """Their resident memory; what they share counts once, where the kernel tells (Pss)."""
    total = 0
    for pid in pids:
        for name in ("smaps_rollup", "status"):
            try:
                with open(f"/proc/{pid}/{name}", encoding="ascii", errors="replace") as file:
                    total += int(re.search(r"^(?:Pss|VmRSS):\s+(\d+) kB", file.read(), re.M).group(1))
                break
            except (OSError, AttributeError):
                continue
    return total


def descriptors(pids):
    """How many they have open, in all."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += len(os.listdir(f"/proc/{pid}/fd"))
    return total

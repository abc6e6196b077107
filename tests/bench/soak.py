"""Minutes of steady calls: memory, descriptors and latency have to stay as they are."""

import time

from figures import Series
from processes import descriptors, output, resident_kib
from rivals import Tally, call_load

RATE = 1000    # calls/s, each of which waits for a second
SLICE = 15     # seconds between two looks


def soak(report, settings):
    looks = []
    end = time.monotonic() + settings.soak_seconds
    with Tally(1000) as node:
        while time.monotonic() < end:
            report.say(f"soak: {end - time.monotonic():.0f} s to go")
            load = call_load(node, "--rate", RATE, "--duration", f"{SLICE}s")
            time.sleep(SLICE / 2)
            pids = node.processes()
            kib, files = resident_kib(pids), descriptors(pids)
            result = output([load], (0, 1, 4))[0]
            if result["failed"]:
                report.note(f"soak: {result['failed']} calls failed: {result['failures']}")
            looks.append({"mib": kib / 1024, "descriptors": files,
                          "p50_ms": result["latency_us"]["whole_call"]["p50"] / 1000 - 1000,
                          "p99_ms": result["latency_us"]["whole_call"]["p99"] / 1000 - 1000})
    report.data["soak"] = {"slice": SLICE, "looks": looks}
    part = max(1, len(looks) // 4)  # of the first one, the beginning is left out where there are more
    first, last = looks[:2 * part][-part:], looks[-part:]
    for name, what, unit in (("mib", "resident memory", "MiB"), ("descriptors", "descriptors", ""),
                             ("p50_ms", "p50 beyond the second", "ms"), ("p99_ms", "p99 beyond the second", "ms")):
        report.row("soak", f"soak, {settings.soak_seconds:.0f} s of {RATE:,} calls/s: {what} at the end",
                   Series(look[name] for look in last), Series(look[name] for look in first), "before:", "flat", unit)

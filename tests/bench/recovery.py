"""How long a start takes over the log's length."""

import json
import os

from figures import Series
from processes import begin, text
from rivals import BENCH
from harness import BIN


def one(counts, block):
    done = text(begin(os.path.join(BIN, "bench_recovery"), "--counts", counts, "--block", block, cwd=BENCH))
    return json.loads(done)


def recovery(report, settings):
    lengths = (100000, 300000, 1000000, 3000000) if settings.full else (30000, 100000, 300000)
    goal_at = 1000000 if settings.full else 300000
    cases = [(counts, 64) for counts in lengths] + [(goal_at // 10, 1)]
    results = {case: [] for case in cases}
    for number in range(settings.few_rounds):
        for counts, block in cases:
            report.say(f"recovery of {counts:,} counts, round {number + 1} of {settings.few_rounds}")
            results[counts, block].append(one(counts, block))
    for (counts, block), rounds in results.items():
        report.row("recovery", f"recovery of {counts:,} counts in blocks of {block}: counts/s",
                   Series(r["rate"] for r in rounds), goal="1,000,000" if (counts, block) == (goal_at, 64) else "")
    report.data["recovery"] = [
        {"counts": counts, "block": block, "bytes": rounds[0]["bytes"],
         "seconds": Series(r["seconds"] for r in rounds).median()} for (counts, block), rounds in results.items()]

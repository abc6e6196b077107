"""How long a start takes over the log's length, and Redis with as many increments in its log.

Tally's is node_open() in a program of its own, with a warm page cache; Redis' is what it says of its log, which
its benchmark has just written.
"""

import json
import os

from figures import Series
from processes import begin, text
from rivals import Redis, new_folder
from harness import BIN


def one(counts, block):
    done = text(begin(os.path.join(BIN, "bench_recovery"), "--counts", counts, "--block", block,
                      cwd=new_folder("recovery")))
    return json.loads(done)


def of_redis(counts):
    """Its seconds."""
    with Redis() as redis:
        return redis.recover(counts)


def recovery(report, settings):
    lengths = (100000, 300000, 1000000, 3000000) if settings.full else (30000, 100000, 300000)
    beside = lengths[2]  # the length at which the goal and Redis stand
    cases = [(counts, 64) for counts in lengths] + [(beside // 10, 1)]
    results = {case: [] for case in cases}
    redis = []
    for number in range(settings.few_rounds):
        for counts, block in cases:
            report.say(f"recovery of {counts:,} counts, round {number + 1} of {settings.few_rounds}")
            results[counts, block].append(one(counts, block))
        if settings.redis:
            redis.append(of_redis(beside))
    for (counts, block), rounds in results.items():
        here = (counts, block) == (beside, 64)
        base = Series(beside / seconds for seconds in redis) if here else None
        report.row("recovery", f"recovery of {counts:,} counts in blocks of {block}: counts/s",
                   Series(r["rate"] for r in rounds), base, "Redis", "1,000,000 or more" if here else "")
    report.data["recovery"] = [
        {"counts": counts, "block": block, "bytes": rounds[0]["bytes"],
         "seconds": Series(r["seconds"] for r in rounds).median()} for (counts, block), rounds in results.items()]

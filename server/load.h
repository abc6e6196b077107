/* server/load.h: many calls, in a closed loop (so many at a time) or an open one (so many
 * a second). */
#ifndef SERVER_LOAD_H
#define SERVER_LOAD_H
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "server/caller.h"
#include "server/stats.h"

struct load_plan {
    uint64_t calls; /* 0 for no bound */
    /* no new call after this; 0 for no bound; one of both is given */
    unsigned duration_ms;
    unsigned concurrency; /* closed loop: calls at a time */
    double rate;          /* open loop: calls a second; 0 for the closed loop */
    unsigned max_open;    /* open loop: a call that would be one more starts late */
    /* of the calls, the caller leaves within the first commands */
    unsigned hangup_percent;
    uint32_t seed; /* of who hangs up, and when */
    uint32_t first_serial;
    /* Every call leaves at this command, as single calls may; 0 for none. */
    unsigned hangup_at;
    bool progress; /* a line on standard error, once a second */
};

/* Make the calls and fill *stats; SIGINT ends it early: once to let open calls end, twice
 * at once.
 * Errors: ERR_IO, ERR_MEMORY. */
enum err load_run(const struct load_plan *plan, struct caller_plan *calls,
                  struct stats *stats);

#endif

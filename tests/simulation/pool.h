/* tests/simulation/pool.h: histories in processes of their own, several at once: a
 * failing one ends its process, and the seeds behind it go on in the next. */
#ifndef SIMULATION_POOL_H
#define SIMULATION_POOL_H
#include <stdbool.h>
#include <stddef.h>

#include "tests/simulation/kind.h"

enum { REPORT_MAX = 12 * 1024 };

/* How one history ended. */
struct report {
    struct sim_options options;
    bool failed;
    uint64_t failed_ms; /* simulated time when something broke */
    struct sim_result result;
    char what[512];        /* what broke */
    char last[REPORT_MAX]; /* the last events before it */
};

/* Histories of the seeds first, first + step, ... up to last, one after another. */
struct task {
    struct sim_options options;
    uint64_t first, step, last;
    bool until_failed; /* not beyond the first that fails */
};

/* Runs all tasks, at most `jobs` at once, and calls each() with every report. */
typedef void pool_fn(void *arg, size_t task, const struct report *report);
void pool_run(const struct task *tasks, size_t count, unsigned jobs, pool_fn *each,
              void *arg);
/* One history, in a process of its own. */
void pool_one(const struct sim_options *options, struct report *report);
/* One history in this process: what breaks is told on standard error, and ends it with
 * exit code 1. */
void pool_here(const struct sim_options *options, struct report *report);

/* The command that plays a history again, into `to`. */
void replay_command(const struct sim_options *options, char *to, size_t size);

#endif

#include "server/load.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

enum {
    TICK_MS = 1, /* of the open loop, and of a start in small bursts */
    BURST = 64,  /* calls started per tick */
    /* In a closed loop no more calls knock at once: where a listener's backlog (4096 as a
     * rule) overflows, the kernel drops connections, and tries them again seconds
     * later. */
    KNOCKING_MAX = 1024,
    HANGUP_COMMANDS = 4, /* a caller who leaves does so within so many commands */
    PROGRESS_MS = 1000,
};

struct load {
    const struct load_plan *plan;
    struct stats *stats;
    struct callers *callers;
    uv_loop_t loop;
    uv_timer_t tick, progress;
    uv_signal_t interrupt;
    unsigned short random[3]; /* nrand48()'s */
    uint64_t started, progress_calls;
    bool stopping, ended, no_memory;
};

static bool may_start(const struct load *l)
{
    uint64_t age_ms = (uv_hrtime() - l->stats->begun_ns) / 1000000;

    return !l->stopping && !l->no_memory &&
           (l->plan->calls == 0 || l->started < l->plan->calls) &&
           (l->plan->duration_ms == 0 || age_ms < l->plan->duration_ms);
}

/* The same seed gives the same callers, whatever order they end in. */
static void choose_leave(struct load *l, struct caller_choice *choice)
{
    static const enum fake_leave how[] = {FAKE_LEAVES_DURING, FAKE_LEAVES_LATE,
                                          FAKE_LEAVES_AFTER};

    if (l->plan->hangup_at > 0) {
        choice->leave = FAKE_LEAVES_DURING;
        choice->leave_at = l->plan->hangup_at;
    } else if (l->plan->hangup_percent > 0 &&
               (unsigned)nrand48(l->random) % 100 < l->plan->hangup_percent) {
        choice->leave = how[(unsigned)nrand48(l->random) % (sizeof how / sizeof *how)];
        choice->leave_at = 1 + (unsigned)nrand48(l->random) % HANGUP_COMMANDS;
    }
}

static void start_one(struct load *l, uint64_t due_ns)
{
    struct caller_choice choice = {.due_ns = due_ns};

    choice.serial = l->plan->first_serial + (uint32_t)l->started;
    choose_leave(l, &choice);
    l->started++;
    if (callers_start(l->callers, &choice) == ERR_OK)
        return;
    log_error("out of memory: no more calls are started");
    l->no_memory = true;
}

static void on_closed(uv_handle_t *handle)
{
    (void)handle;
}

static void end_load(struct load *l)
{
    if (l->ended)
        return;
    l->ended = true;
    l->stats->ended_ns = uv_hrtime();
    uv_close((uv_handle_t *)&l->tick, on_closed);
    uv_close((uv_handle_t *)&l->progress, on_closed);
    uv_close((uv_handle_t *)&l->interrupt, on_closed);
    callers_free(l->callers);
}

static void fill_closed(struct load *l, unsigned burst)
{
    while (burst-- > 0 && callers_open(l->callers) < l->plan->concurrency &&
           callers_unserved(l->callers) < KNOCKING_MAX && may_start(l))
        start_one(l, uv_hrtime());
}

/* Calls are due at even distances; a latency counts from there. */
static void fill_open(struct load *l)
{
    double age_s = (double)(uv_hrtime() - l->stats->begun_ns) / 1e9;
    uint64_t due = (uint64_t)(age_s * l->plan->rate) + 1;

    while (l->started < due && callers_open(l->callers) < l->plan->max_open &&
           may_start(l))
        start_one(l, l->stats->begun_ns +
                         (uint64_t)((double)l->started / l->plan->rate * 1e9));
}

static void on_tick(uv_timer_t *timer)
{
    struct load *l = timer->data;

    if (l->plan->rate > 0)
        fill_open(l);
    else
        fill_closed(l, BURST);
    if (callers_open(l->callers) == 0 && !may_start(l))
        end_load(l);
}

static void on_command(void *context, const char *line, size_t len, uint64_t us,
                       bool first, const char *number)
{
    struct load *l = context;

    (void)line;
    (void)len;
    stats_command(l->stats, us, first);
    if (number != NULL)
        stats_number(l->stats, number);
}

static void on_ended(void *context, const struct caller_outcome *outcome)
{
    struct load *l = context;

    stats_ended(l->stats, outcome);
    if (l->plan->rate == 0)
        fill_closed(l, 1);
}

static void on_progress(uv_timer_t *timer)
{
    struct load *l = timer->data;
    uint64_t calls = l->stats->calls;

    fprintf(stderr,
            "\r%" PRIu64 " calls, %" PRIu64 " in the last second, %zu open, %" PRIu64
            " failed \033[K",
            calls, calls - l->progress_calls, callers_open(l->callers),
            stats_failed(l->stats));
    l->progress_calls = calls;
}

static void on_interrupt(uv_signal_t *signal, int number)
{
    struct load *l = signal->data;

    (void)number;
    if (l->stopping)
        end_load(l);
    l->stopping = true;
}

static void start_handles(struct load *l)
{
    uv_timer_init(&l->loop, &l->tick);
    uv_timer_init(&l->loop, &l->progress);
    uv_signal_init(&l->loop, &l->interrupt);
    l->tick.data = l->progress.data = l->interrupt.data = l;
    uv_timer_start(&l->tick, on_tick, 0, TICK_MS);
    if (l->plan->progress)
        uv_timer_start(&l->progress, on_progress, PROGRESS_MS, PROGRESS_MS);
    uv_signal_start(&l->interrupt, on_interrupt, SIGINT);
}

enum err load_run(const struct load_plan *plan, struct caller_plan *calls,
                  struct stats *stats)
{
    struct load l = {.plan = plan, .stats = stats};
    const struct caller_watch watch = {
        .context = &l, .command = on_command, .ended = on_ended};
    enum err err;

    l.random[0] = (unsigned short)plan->seed;
    l.random[1] = (unsigned short)(plan->seed >> 16);
    if (uv_loop_init(&l.loop) != 0)
        return ERR_MEMORY;
    err = callers_new(&l.loop, calls, &watch, &l.callers);
    if (err == ERR_OK) {
        stats->begun_ns = uv_hrtime();
        start_handles(&l);
        uv_run(&l.loop, UV_RUN_DEFAULT);
        if (plan->progress)
            fputs("\r\033[K", stderr);
    }
    uv_loop_close(&l.loop);
    return err == ERR_OK && l.no_memory ? ERR_MEMORY : err;
}

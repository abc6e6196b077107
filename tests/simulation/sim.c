#include "tests/simulation/sim.h"

#include <assert.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulation/broken.h"
#include "tests/simulation/fastcrypto.h"
#include "tests/simulation/trace.h"

enum { CALM_MS = 10 * 60 * 1000 };

static_assert(sizeof(struct sim_figures) <= FIGURES_MAX * sizeof(uint64_t), "they fit");

static void on_alarm(void *arg, const char *line)
{
    struct sim *s = arg;
    size_t len = strlen(s->alarms);

    s->alarmed = true;
    snprintf(s->alarms + len, sizeof s->alarms - len, "%s; ", line);
}

/* ---- the plan ---- */

/* Each history has its own mix: one with every fault at once would rarely get far with
 * any. */
static void draw_faults(struct sim *s, struct rng *r)
{
    struct plan *p = &s->plan;

    for (unsigned i = 0; i < FAULT_COUNT; i++)
        p->has[i] = rng_chance(r, 1, 2);
    if (!p->has[FAULT_kill] && !p->has[FAULT_power])
        p->has[rng_chance(r, 1, 2) ? FAULT_kill : FAULT_power] = true;
    for (unsigned i = 0; i < FAULT_COUNT; i++)
        if ((s->options->without & (1U << i)) != 0)
            p->has[i] = false;
}

static void draw_plan(struct sim *s)
{
    struct plan *p = &s->plan;
    struct rng r;

    rng_seed(&r, s->options->seed, 0);
    draw_faults(s, &r);
    p->real_crypto = s->options->seed % 10 == 0;
    p->crash_ms = rng_wide(&r, 20 * 1000, 20 * 60 * 1000);
    p->call_ms = rng_chance(&r, 1, 5) ? rng_wide(&r, 100, 5000) : 1000;
    p->burst_ms = rng_wide(&r, 60 * 1000, 15 * 60 * 1000);
    p->burst_calls = rng_wide(&r, 20, 6000);
    p->fault_ms = rng_wide(&r, 10 * 1000, 5 * 60 * 1000);
    p->error_rate = (uint32_t)rng_wide(&r, 50, 5000);
    p->workers = (unsigned)rng_between(&r, 1, 4);
    p->counters = (unsigned)rng_wide(&r, 1, 32);
    p->tag_max = rng_chance(&r, 1, 2) ? 0 : (unsigned)rng_between(&r, 1, TAG_MAX_BYTES);
    p->answer_ms = (unsigned)rng_wide(&r, 1500, 30 * 1000);
    p->retry_percent = (unsigned)rng_between(&r, 20, 90);
    p->big_amounts = rng_chance(&r, 1, 3);
    p->segment_bytes = WAL_SEGMENT_MIN * (rng_chance(&r, 1, 4) ? 2 : 1);
    p->checkpoint_bytes = rng_wide(&r, 16 * 1024, 2 * 1024 * 1024);
    p->checkpoint_ms = rng_wide(&r, 5 * 1000, 60 * 60 * 1000);
    p->slice = (size_t)1 << p->checkpoint_bytes % 5;
    p->requests = (size_t)1 << (rng_chance(&r, 1, 2) ? 16 : rng_between(&r, 6, 11));
    p->items_max = rng_chance(&r, 1, 6) ? rng_between(&r, 1, p->counters) : 1000;
    if (rng_chance(&r, 1, 8)) { /* Many segments. */
        p->burst_ms = rng_between(&r, 1, 3) * 60 * 1000;
        p->burst_calls = 4000;
        p->tag_max = TAG_MAX_BYTES;
        p->has[FAULT_burst] = (s->options->without & (1U << FAULT_burst)) == 0;
    }
}

static void set_rates(struct sim *s)
{
    struct simdisk_rates *rates = simdisk_rates(s->disk);
    uint32_t rate = s->plan.has[FAULT_error] ? s->plan.error_rate : 0;

    *rates = (struct simdisk_rates){.read_error = rate,
                                    .write_error = rate,
                                    .sync_error = 2 * rate,
                                    .remove_error = 10 * rate,
                                    .list_error = rate,
                                    .make_error = 10 * rate,
                                    .make_differs = 4 * rate,
                                    .archive_refuses = 10 * rate,
                                    .flip = s->plan.has[FAULT_flip] ? 20000 : 0,
                                    .cut_make = 250000,
                                    .make_ms = 50};
}

/* ---- events ---- */

void event_add(struct sim *s, uint64_t in_ms, enum event_kind kind, uint64_t number,
               void *of)
{
    schedule_add(&s->schedule, s->now_ms + in_ms, (int)kind, number, of);
}

/* About `mean` from now. */
static void event_about(struct sim *s, uint64_t mean, enum event_kind kind)
{
    event_add(s, rng_below(&s->rng, 2 * mean + 1), kind, 0, NULL);
}

/* ---- faults while it runs ---- */

static void arm(struct sim *s)
{
    uint64_t actions = rng_wide(&s->fault, 1, 60);

    if (s->process.node == NULL || simdisk_armed(s->disk))
        return;
    trace(TRACE_ARMED, actions, 0);
    simdisk_arm(s->disk, actions);
}

static void fault_full(struct sim *s)
{
    simdisk_rates(s->disk)->full = true;
    trace(TRACE_FULL, 1, 0);
    event_add(s, rng_wide(&s->fault, 1000, 20 * 60 * 1000), EVENT_FAULT_ENDS, FAULT_full,
              NULL);
}

static void fault_slow(struct sim *s)
{
    struct simdisk_rates *rates = simdisk_rates(s->disk);

    rates->slow = (uint32_t)rng_wide(&s->fault, 1000, 1000000);
    rates->sync_ms = rng_wide(&s->fault, 5, 5000);
    rates->make_ms = rng_wide(&s->fault, 50, 120 * 1000);
    trace(TRACE_SLOW, rates->sync_ms, rates->make_ms);
    event_add(s, rng_wide(&s->fault, 1000, 5 * 60 * 1000), EVENT_FAULT_ENDS, FAULT_slow,
              NULL);
}

static void fault_clock(struct sim *s)
{
    static const uint64_t rates[] = {1000000, 1000000, 0, 900000,
                                     1000000, 1000000, 0, 1100000};
    int64_t most =
        rng_chance(&s->fault, 1, 2) ? 10 * 1000 : INT64_C(400) * 24 * 3600 * 1000;
    uint64_t drawn = rng_below(&s->fault, (uint64_t)(2 * most));
    int64_t wall_ms = (int64_t)process_time(s).wall_ms + (int64_t)drawn - most;

    s->wall_ms = wall_ms > 0 ? (uint64_t)wall_ms : 0;
    s->wall_since_ms = s->now_ms;
    s->wall_rate = rates[drawn % (sizeof rates / sizeof *rates)];
    trace(TRACE_CLOCK, s->wall_ms, s->wall_rate);
}

static void fault_begins(struct sim *s)
{
    enum fault fault = (enum fault)rng_below(&s->fault, FAULT_COUNT);

    if (!s->plan.has[fault])
        return;
    switch (fault) {
    case FAULT_full:
        fault_full(s);
        break;
    case FAULT_slow:
        fault_slow(s);
        break;
    case FAULT_clock:
        fault_clock(s);
        break;
    case FAULT_worker:
        clients_worker_fault(s);
        return; /* counts itself */
    case FAULT_stop:
        process_stop(s);
        break;
    case FAULT_restore:
        damage_copy(s);
        return; /* counted when it is restored */
    default:
        return;
    }
    s->result->faults[fault]++;
}

static void fault_ends(struct sim *s, enum fault fault)
{
    struct simdisk_rates *rates = simdisk_rates(s->disk);

    if (fault == FAULT_full) {
        rates->full = false;
        trace(TRACE_FULL, 0, 0);
    } else {
        rates->slow = 0;
        rates->make_ms = 50;
        trace(TRACE_SLOW, 0, rates->make_ms);
    }
}

static void calm(struct sim *s)
{
    trace(TRACE_CALM, 0, 0);
    s->calm = true;
    *simdisk_rates(s->disk) = (struct simdisk_rates){.make_ms = 50};
    if (s->process.node != NULL)
        simdisk_arm(s->disk, 0);
    damage_mend(s);
    event_add(s, CALM_MS, EVENT_END, 0, NULL);
}

/* ---- the loop ---- */

static void burst(struct sim *s)
{
    uint64_t calls = rng_wide(&s->rng, 1, s->plan.burst_calls);

    if (!s->plan.has[FAULT_burst])
        return;
    trace(TRACE_BURST, calls, 0);
    s->result->faults[FAULT_burst]++;
    for (uint64_t i = 0; i < calls; i++)
        clients_call(s);
}

static bool of_this_run(const struct sim *s, const struct event *e)
{
    return s->process.node != NULL && e->number == s->process.run;
}

/* What comes again and again until faults are over. */
static void repeat(struct sim *s, const struct event *e)
{
    static const enum event_kind kinds[] = {EVENT_CALL, EVENT_BURST, EVENT_CRASH,
                                            EVENT_FAULT};
    const uint64_t means[] = {s->plan.call_ms, s->plan.burst_ms, s->plan.crash_ms,
                              s->plan.fault_ms};

    if (s->calm)
        return;
    for (size_t i = 0; i < 4; i++)
        if ((int)kinds[i] == e->kind)
            event_about(s, means[i], kinds[i]);
}

static void handle(struct sim *s, const struct event *e)
{
    repeat(s, e);
    switch ((enum event_kind)e->kind) {
    case EVENT_CALL:
        if (!s->calm)
            clients_call(s);
        break;
    case EVENT_BURST:
        if (!s->calm)
            burst(s);
        break;
    case EVENT_RETRY:
        clients_retry(s, e->of);
        break;
    case EVENT_TO_STATE:
        process_receive(s, e->of);
        break;
    case EVENT_TURN:
        if (of_this_run(s, e))
            process_turn(s);
        break;
    case EVENT_TO_WORKER:
        clients_to_worker(s, e->of);
        break;
    case EVENT_WORKER:
        clients_worker_due(s, (unsigned)e->number);
        break;
    case EVENT_MADE:
        if (of_this_run(s, e))
            simdisk_make_ends(s->disk);
        /* fall through */
    case EVENT_MAINTAIN:
        if (of_this_run(s, e))
            process_maintain(s);
        break;
    case EVENT_START:
        process_start(s);
        break;
    case EVENT_CRASH:
        if (!s->calm && (s->plan.has[FAULT_kill] || s->plan.has[FAULT_power]))
            arm(s);
        break;
    case EVENT_FAULT:
        if (!s->calm)
            fault_begins(s);
        break;
    case EVENT_FAULT_ENDS:
        if (!s->calm)
            fault_ends(s, (enum fault)e->number);
        break;
    case EVENT_CALM:
        calm(s);
        break;
    case EVENT_END:
        break;
    }
}

/* ---- the end ---- */

static void finish(struct sim *s)
{
    struct node_figures figures;
    uint64_t hash;

    if (s->process.node == NULL)
        broken("it does not run, and nothing went wrong for %d minutes", CALM_MS / 60000);
    if (s->open_calls > 0)
        broken("%zu calls got no answer, and nothing went wrong for %d minutes",
               s->open_calls, CALM_MS / 60000);
    node_figures(s->process.node, &figures);
    if (figures.full)
        broken("it takes the disk for full, and it has room");
    process_restart(s);
    hash = simdisk_hash(s->disk);
    process_restart(s);
    if (simdisk_hash(s->disk) != hash)
        broken("a second recovery changes the directory again");
    trace(TRACE_TWICE, 0, 0);
    trace(TRACE_END, history_frames(s->history), history_counts(s->history));
    simdisk_kill(s->disk);
    node_close(s->process.node);
}

static void figures_take(struct sim *s)
{
    struct sim_figures *r = s->result;

    r->blocks = history_frames(s->history);
    r->counts = history_counts(s->history);
    r->disk = *simdisk_counts(s->disk);
    r->faults[FAULT_error] = r->disk.read_errors + r->disk.write_errors +
                             r->disk.sync_errors + r->disk.remove_errors +
                             r->disk.list_errors + r->disk.make_errors;
    r->faults[FAULT_flip] = r->disk.flips;
}

/* The last frame of all has no witness behind it, and is looked at twice: both readings
 * may be wrong. And a wrong reading of the one witness of a rotten frame hides it. */
static void allow_cut(struct sim *s)
{
    size_t frames = history_frames(s->history);

    if (simdisk_flipped(s->disk) > 0 && s->rotten_frame >= 0) {
        history_may_cut(s->history,
                        history_frame(s->history, (size_t)s->rotten_frame)->lsn);
        return;
    }
    if (simdisk_flipped(s->disk) < 2 || frames == 0)
        return;
    history_may_cut(s->history, history_frame(s->history, frames - 1)->lsn);
    s->rotten = true; /* Should it die before it has cut all, the next one finds it so. */
}

static void watch_writes(void *arg, const struct simfile *file, uint64_t offset,
                         const void *bytes, size_t len)
{
    struct sim *s = arg;

    allow_cut(s);
    history_writes(s->history, file, offset, bytes, len);
}

static void watch_synced(void *arg, const struct simfile *file)
{
    history_synced(((struct sim *)arg)->history, file);
}

static void watch_removes(void *arg, const struct simfile *file)
{
    struct sim *s = arg;

    s->result->removed += is_log(file);
    check_removed(s, file);
}

static void watch_make(void *arg, uint64_t takes_ms)
{
    struct sim *s = arg;

    s->result->makes++;
    event_add(s, takes_ms, EVENT_MADE, s->process.run, NULL);
}

static void begin(struct sim *s)
{
    const struct simdisk_watch watch = {.writes = watch_writes,
                                        .synced = watch_synced,
                                        .removes = watch_removes,
                                        .make_begins = watch_make,
                                        .arg = s};
    uint8_t seed[crypto_sign_SEEDBYTES];

    trace_begin(s->options->seed, &s->now_ms, s->options->verbose);
    trace_on_alarm(on_alarm, s);
    rng_seed(&s->rng, s->options->seed, 2);
    rng_seed(&s->clients, s->options->seed, 3);
    rng_seed(&s->fault, s->options->seed, 4);
    draw_plan(s);
    s->wall_ms = UINT64_C(1700000000000);
    s->wall_rate = 1000000;
    s->crypto = s->plan.real_crypto ? &crypto_real : &crypto_fast;
    rng_bytes(&s->rng, seed, sizeof seed);
    crypto_sign_seed_keypair(s->key.public.byte, s->key.secret, seed);
    s->disk = simdisk_new(s->options->seed, &watch);
    s->history = history_new(s->crypto);
    set_rates(s);
    mutants_set(s->options->mutant);
    *simdisk_mutants(s->disk) = mutants_of_disk(s->options->mutant);
    clients_begin(s);
    event_add(s, 0, EVENT_START, 0, NULL);
    event_about(s, s->plan.call_ms, EVENT_CALL);
    event_about(s, s->plan.burst_ms, EVENT_BURST);
    event_about(s, s->plan.crash_ms, EVENT_CRASH);
    event_about(s, s->plan.fault_ms, EVENT_FAULT);
    event_add(s, s->options->length_ms, EVENT_CALM, 0, NULL);
}

static void end(struct sim *s)
{
    schedule_clear(&s->schedule);
    clients_end(s);
    history_free(s->history);
    simdisk_free(s->disk);
    simcopy_free(s->copy.files);
    free(s->copy.history);
    free(s->process.queue);
}

static void run(const struct sim_options *options, struct sim_result *result)
{
    struct sim_figures figures = {0};
    struct sim s = {.options = options, .result = &figures};
    struct event e;

    begin(&s);
    do {
        e = schedule_next(&s.schedule);
        if (e.at_ms > s.now_ms)
            s.now_ms = e.at_ms;
        handle(&s, &e);
    } while (e.kind != EVENT_END);
    finish(&s);
    figures_take(&s);
    *result = (struct sim_result){.hash = trace_hash(), .simulated_ms = s.now_ms};
    memcpy(result->figure, &figures, sizeof figures);
    trace_on_alarm(NULL, NULL);
    end(&s);
}

/* ---- what is said of it ---- */

#define FAULT_NAME(name, text) {#name, text},
static const struct fault_name fault_names[FAULT_COUNT] = {FAULTS(FAULT_NAME)};

static void print(const struct sim_result *sum)
{
    struct sim_figures figures;
    const struct sim_figures *r = &figures;

    memcpy(&figures, sum->figure, sizeof figures);
    printf("calls        %" PRIu64 "; counts asked %" PRIu64 ", answered FINAL %" PRIu64
           " (%" PRIu64 " of them repeats), UNKNOWN %" PRIu64 ", UNAVAILABLE %" PRIu64
           ", refused %" PRIu64 "\n",
           r->calls, r->asked, r->answered, r->repeats, r->unknown, r->unavailable,
           r->refused);
    printf("log          %" PRIu64 " blocks with %" PRIu64 " counts at the end; %" PRIu64
           " segments and checkpoints made, %" PRIu64 " segments released\n",
           r->blocks, r->counts, r->makes, r->removed);
    printf("starts       %" PRIu64 ": %" PRIu64 " recovered, %" PRIu64
           " rightly refused; %" PRIu64 " full replays\n",
           r->runs, r->recoveries, r->refusals, r->replays);
    printf("faults      ");
    for (unsigned i = 0; i < FAULT_COUNT; i++)
        printf(" %s %" PRIu64 "%s", fault_names[i].name, r->faults[i],
               i + 1 < FAULT_COUNT ? "," : "\n");
    printf("disk         %" PRIu64 " operations; failed: reads %" PRIu64
           ", writes %" PRIu64 ", syncs %" PRIu64 ", removes %" PRIu64 ", makes %" PRIu64
           "; makes without room %" PRIu64 ", cut off %" PRIu64 ", cache lost %" PRIu64
           "\n",
           r->disk.operations, r->disk.read_errors + r->disk.list_errors,
           r->disk.write_errors, r->disk.sync_errors, r->disk.remove_errors,
           r->disk.make_errors, r->disk.made_full, r->disk.half_made, r->disk.evicted);
}

const struct kind kind_node = {.option = "",
                               .length_ms = 60 * 60 * 1000,
                               .faults = fault_names,
                               .fault_count = FAULT_COUNT,
                               .mutants = &mutants_of_node,
                               .run = run,
                               .print = print};

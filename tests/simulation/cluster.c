#include "tests/simulation/cluster.h"

#include <assert.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulation/broken.h"
#include "tests/simulation/fastcrypto.h"
#include "tests/simulation/trace.h"

enum {
    EQUAL_MS =
        5 * 60 * 1000, /* from the end of all faults until all are equal, at most */
    LOOK_MS = 2000,
    TIDY_ROUNDS = 3, /* of counts and checkpoints, so that the log may go */
    TIDY_MS = 6000,
    REST_MS = 15000,
};

static_assert(sizeof(struct cluster_figures) <= FIGURES_MAX * sizeof(uint64_t),
              "they fit");

void cluster_event(struct cluster *c, uint64_t in_ms, enum cluster_event kind,
                   uint64_t number, void *of)
{
    schedule_add(&c->schedule, c->now_ms + in_ms, (int)kind, number, of);
}

bool cluster_has(const struct cluster *c, enum cluster_fault fault)
{
    return c->plan.has[fault] && !c->calm;
}

static void on_alarm(void *arg, const char *line)
{
    check_alarm(arg, line);
}

/* ---- the plan ---- */

/* Each history has its own mix: one with every fault at once would rarely get far with
 * any. */
static void draw_faults(struct cluster *c, struct rng *r)
{
    struct cluster_plan *p = &c->plan;

    for (unsigned i = 0; i < CLUSTER_FAULT_COUNT; i++)
        p->has[i] = rng_chance(r, 1, 3);
    if (!p->has[CLUSTER_kill] && !p->has[CLUSTER_power])
        p->has[rng_chance(r, 1, 2) ? CLUSTER_kill : CLUSTER_power] = true;
    for (unsigned i = 0; i < CLUSTER_FAULT_COUNT; i++)
        if ((c->options->without & (1U << i)) != 0)
            p->has[i] = false;
}

static void draw_nodes(struct cluster *c, struct rng *r)
{
    static const unsigned sizes[] = {1, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 4, 4, 5, 5, 7};
    struct cluster_plan *p = &c->plan;

    p->nodes = sizes[rng_below(r, sizeof sizes / sizeof *sizes)];
    p->witness = p->nodes;
    if (p->nodes > 2 && rng_chance(r, 1, 5))
        p->witness = (unsigned)rng_below(r, p->nodes);
    p->join_wait_ms = rng_wide(r, 2000, 60 * 1000);
    for (unsigned i = 1; i < p->nodes; i++)
        p->late[i] = p->has[CLUSTER_late] && rng_chance(r, 1, 2);
    p->unlisted = p->has[CLUSTER_late] && rng_chance(r, 1, 2);
    if (p->unlisted)
        p->join_wait_ms = 60 * 60 * 1000;
}

static void draw_plan(struct cluster *c)
{
    struct cluster_plan *p = &c->plan;
    struct rng r;

    rng_seed(&r, c->options->seed, 0);
    draw_faults(c, &r);
    draw_nodes(c, &r);
    p->real_crypto = c->options->seed % 10 == 0;
    p->retires = c->options->seed % 8 >= 6;
    p->call_ms = rng_wide(&r, 200, 8000);
    p->burst_ms = rng_wide(&r, 20 * 1000, 300 * 1000);
    p->burst_calls = rng_wide(&r, 50, 3000);
    p->crash_ms = rng_wide(&r, 10 * 1000, 300 * 1000);
    p->fault_ms = rng_wide(&r, 1000, 30 * 1000);
    p->counters = (unsigned)rng_wide(&r, 1, ARCHIVE_COUNTERS);
    p->tag_max = rng_chance(&r, 1, 2) ? 0 : (unsigned)rng_between(&r, 1, TAG_MAX_BYTES);
    p->requests = 1U << rng_between(&r, 10, 15);
    p->checkpoint_bytes = rng_wide(&r, 32 * 1024, 2 * 1024 * 1024);
    p->checkpoint_ms = rng_wide(&r, 5 * 1000, 600 * 1000);
    p->error_rate = (uint32_t)rng_wide(&r, 20, 2000);
    if (rng_chance(&r, 1, 4)) { /* So much that the log is let go of. */
        for (unsigned i = CLUSTER_wipe; i < CLUSTER_FAULT_COUNT; i++)
            p->has[i] = (p->has[i] || i == CLUSTER_burst || rng_chance(&r, 1, 2)) &&
                        (c->options->without & (1U << i)) == 0;
        p->burst_ms = rng_between(&r, 5, 20) * 1000;
        p->burst_calls = rng_between(&r, 2000, 6000);
        p->checkpoint_bytes = 256 * 1024;
        p->checkpoint_ms = 20 * 1000;
    }
    p->slice = (size_t)1 << p->checkpoint_ms % 5;
    p->copies = rng_chance(&r, 1, 4) && p->nodes > 1
                    ? (unsigned)rng_between(&r, 2, p->nodes < 3 ? 2 : 3)
                    : 1;
    p->copies_wait_ms = rng_wide(&r, 100, 5000);
    p->loss = (unsigned)rng_wide(&r, 1, 300);
    p->twice = (unsigned)rng_wide(&r, 1, 200);
    p->delay_ms = rng_wide(&r, 5, p->has[CLUSTER_reorder] ? 5000 : 50);
}

/* ---- the loop ---- */

static void about(struct cluster *c, uint64_t mean, enum cluster_event kind)
{
    cluster_event(c, rng_below(&c->rng, 2 * mean + 1), kind, 0, NULL);
}

/* What comes again and again until faults are over. */
static void repeat(struct cluster *c, enum cluster_event kind)
{
    const struct {
        enum cluster_event kind;
        uint64_t mean_ms;
    } all[] = {{EVENT_CALL, c->plan.call_ms},
               {EVENT_BURST, c->plan.burst_ms},
               {EVENT_CRASH, c->plan.crash_ms},
               {EVENT_FAULT, c->plan.fault_ms},
               {EVENT_INJECT, 3000}};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].kind == kind)
            about(c, all[i].mean_ms, kind);
}

/* What goes on of itself while there are faults. */
static void happens(struct cluster *c, enum cluster_event kind)
{
    if (c->calm)
        return;
    repeat(c, kind);
    if (kind == EVENT_CALL)
        load_call(c);
    else if (kind == EVENT_BURST && cluster_has(c, CLUSTER_burst))
        load_burst(c);
    else if (kind == EVENT_CRASH)
        faults_crash(c);
    else if (kind == EVENT_FAULT)
        faults_begin(c);
    else if (kind == EVENT_INJECT && cluster_has(c, CLUSTER_inject))
        net_inject(c);
}

static void calm(struct cluster *c)
{
    trace(TRACE_CALM, 0, 0);
    c->calm = true;
    c->calm_ms = c->now_ms;
    faults_cease(c);
    for (unsigned i = 0; i < c->plan.nodes; i++)
        held_add(&c->reference, &c->member[i]->ledger.held);
    cluster_event(c, LOOK_MS, EVENT_LOOK, 0, NULL);
}

/* A few counts everywhere, and a checkpoint. */
static void tidy(struct cluster *c)
{
    c->tidy++;
    for (unsigned i = 0; i < c->plan.nodes; i++) {
        struct member *m = c->member[i];

        trace_actor(m->name);
        for (unsigned n = 0; n < 2 && i != c->plan.witness; n++)
            load_count(m);
        node_want_checkpoint(m->process);
        member_turn_soon(m);
    }
    cluster_event(c, TIDY_MS, EVENT_LOOK, 0, NULL);
}

static void rest(struct cluster *c)
{
    c->rest_from_ms = c->now_ms;
    for (unsigned i = 0; i < NODES_MAX; i++)
        for (unsigned j = 0; j < NODES_MAX; j++)
            c->way[i][j].sent = c->way[i][j].blocks = c->way[i][j].checkpoints = 0;
    cluster_event(c, REST_MS, EVENT_LOOK, 0, NULL);
}

static void equal_again(struct cluster *c)
{
    c->equal_ms = c->now_ms;
    c->figures->equal_ms = c->figures->equal_most_ms = c->now_ms - c->calm_ms;
    trace(TRACE_EQUAL, c->now_ms - c->calm_ms, 0);
}

/* Who waits for whom, for the message. */
static void never_equal(const struct cluster *c)
{
    char text[400] = "";
    size_t len = 0;

    for (unsigned i = 0; i < c->plan.nodes && len < sizeof text; i++) {
        const struct member *m = c->member[i];

        len += (size_t)snprintf(text + len, sizeof text - len,
                                " node %u %s, %" PRIu64 " blocks, %zu open;", i,
                                m->process == NULL                     ? "does not run"
                                : !core_is_open(node_core(m->process)) ? "joins"
                                                                       : "counts",
                                held_blocks(&m->ledger.held),
                                m->queue.count + m->taken.count + m->lost.count);
    }
    broken("not equal %d s after the last fault:%s", EQUAL_MS / 1000, text);
}

/* True: it is the end. */
static bool look(struct cluster *c)
{
    if (c->rest_from_ms > 0) {
        check_rest(c, c->now_ms - c->rest_from_ms);
        return true;
    }
    if (!check_equal(c)) {
        if (c->now_ms - c->calm_ms > EQUAL_MS)
            never_equal(c);
        cluster_event(c, LOOK_MS, EVENT_LOOK, 0, NULL);
        return false;
    }
    if (c->equal_ms == 0)
        equal_again(c);
    if (c->tidy < TIDY_ROUNDS)
        tidy(c);
    else
        rest(c);
    return false;
}

static void of_run(struct cluster *c, const struct event *e)
{
    struct member *m = member_of_run(c, e->number);

    if (m == NULL)
        return;
    trace_actor(m->name);
    c->acting = m;
    if (e->kind == EVENT_START && m->process == NULL)
        member_start(m);
    if (e->kind == EVENT_START || m->process == NULL)
        return;
    if (e->kind == EVENT_TURN)
        member_turn(m);
    else if (e->kind == EVENT_DUE)
        member_due(m);
    else
        member_made(m);
}

static void again(struct cluster *c, uint64_t serial)
{
    struct member *m = member_of_serial(c, serial);

    if (m == NULL)
        return;
    trace_actor(m->name);
    load_again(m);
}

/* True: it is the end. */
static bool handle(struct cluster *c, const struct event *e)
{
    trace_actor("");
    c->acting = NULL;
    switch ((enum cluster_event)e->kind) {
    case EVENT_START:
    case EVENT_TURN:
    case EVENT_DUE:
    case EVENT_MADE:
        of_run(c, e);
        break;
    case EVENT_PACKET:
        net_arrive(c, e->of);
        break;
    case EVENT_AGAIN:
        again(c, e->number);
        break;
    case EVENT_CALL:
    case EVENT_BURST:
    case EVENT_CRASH:
    case EVENT_FAULT:
    case EVENT_INJECT:
        happens(c, (enum cluster_event)e->kind);
        break;
    case EVENT_ENDS:
        faults_end(c, e->of);
        break;
    case EVENT_CALM:
        calm(c);
        break;
    case EVENT_LOOK:
        return look(c);
    }
    return false;
}

/* ---- begin and end ---- */

static void draw_keys(struct cluster *c)
{
    for (unsigned i = 0; i < c->plan.nodes; i++) {
        uint8_t seed[crypto_sign_SEEDBYTES];

        rng_bytes(&c->rng, seed, sizeof seed);
        crypto_sign_seed_keypair(c->keys[i].public.byte, c->keys[i].secret, seed);
    }
    for (unsigned i = 0; i < c->plan.nodes; i++)
        for (unsigned j = 0; j < c->plan.nodes; j++)
            if (!c->crypto->box_key(c->box_keys[i][j], &c->keys[i], &c->keys[j].public))
                broken("two keys of nodes make no key for a box");
}

static void begin(struct cluster *c)
{
    trace_begin(c->options->seed, &c->now_ms, c->options->verbose);
    trace_on_alarm(on_alarm, c);
    mutants_set(c->options->mutant);
    rng_seed(&c->rng, c->options->seed, 12);
    rng_seed(&c->load, c->options->seed, 13);
    rng_seed(&c->fault, c->options->seed, 14);
    rng_seed(&c->net, c->options->seed, 15);
    rng_seed(&c->retire, c->options->seed, 16);
    draw_plan(c);
    c->crypto = c->plan.real_crypto ? &crypto_real : &crypto_fast;
    draw_keys(c);
    c->archive = archive_new(c->crypto, c->keys, c->plan.nodes);
    net_begin(c);
    for (unsigned i = 0; i < c->plan.nodes; i++) {
        c->member[i] = member_new(c, i, i);
        cluster_event(c,
                      c->plan.late[i] ? rng_below(&c->rng, c->options->length_ms)
                                      : rng_below(&c->rng, 3000),
                      EVENT_START, c->member[i]->run, NULL);
    }
    about(c, c->plan.call_ms, EVENT_CALL);
    about(c, c->plan.burst_ms, EVENT_BURST);
    about(c, c->plan.crash_ms, EVENT_CRASH);
    about(c, c->plan.fault_ms, EVENT_FAULT);
    about(c, 3000, EVENT_INJECT);
    cluster_event(c, c->options->length_ms, EVENT_CALM, 0, NULL);
}

static void figures_take(struct cluster *c)
{
    struct cluster_figures *f = c->figures;

    f->nodes = c->plan.nodes;
    f->blocks = archive_blocks(c->archive);
    f->counts = archive_counts(c->archive);
    f->streams = archive_streams(c->archive);
    for (unsigned i = 0; i < c->plan.nodes; i++)
        f->stuck[check_stuck(c->member[i])]++;
    for (size_t i = 0; i < f->streams; i++)
        f->forked += archive_stream(c->archive, i)->forked;
}

static void end(struct cluster *c)
{
    trace_on_alarm(NULL, NULL);
    for (size_t i = 0; i < MEMBERS_MAX; i++)
        if (c->member[i] != NULL)
            member_free(c->member[i]);
    schedule_clear(&c->schedule);
    net_end(c);
    held_clear(&c->reference);
    archive_free(c->archive);
}

static void run(const struct sim_options *options, struct sim_result *result)
{
    struct cluster_figures figures = {0};
    struct cluster c = {.options = options, .figures = &figures};
    struct event e;

    begin(&c);
    do {
        e = schedule_next(&c.schedule);
        if (e.at_ms > c.now_ms)
            c.now_ms = e.at_ms;
    } while (!handle(&c, &e));
    check_end(&c);
    trace(TRACE_END, archive_blocks(c.archive), archive_counts(c.archive));
    figures_take(&c);
    *result = (struct sim_result){.hash = trace_hash(), .simulated_ms = c.now_ms};
    memcpy(result->figure, &figures, sizeof figures);
    end(&c);
}

/* ---- what is said of it ---- */

#define FAULT_NAME(name, text) {#name, text},
static const struct fault_name fault_names[] = {CLUSTER_FAULTS(FAULT_NAME)};

static void print(const struct sim_result *sum)
{
    struct cluster_figures figures;
    const struct cluster_figures *f = &figures;

    memcpy(&figures, sum->figure, sizeof figures);
    printf("nodes        %" PRIu64 "; starts %" PRIu64 ", recoveries %" PRIu64 "\n",
           f->nodes, f->starts, f->recoveries);
    printf("calls        %" PRIu64 "; counts asked %" PRIu64 ", answered %" PRIu64
           ", UNKNOWN %" PRIu64 ", UNAVAILABLE %" PRIu64 "; gets %" PRIu64
           "; retired or shown %" PRIu64 "\n",
           f->calls, f->asked, f->answered, f->unknown, f->unavailable, f->gets,
           f->retired);
    printf("blocks       %" PRIu64 " with %" PRIu64 " counts in %" PRIu64
           " streams, of which %" PRIu64 " fork; %" PRIu64 " checkpoints gone over to\n",
           f->blocks, f->counts, f->streams, f->forked, f->adopted);
    printf("for people   %" PRIu64 " nodes wait because a stream forks, %" PRIu64
           " because one may, %" PRIu64 " because the log has gone\n",
           f->stuck[NODE_STUCK_FORK], f->stuck[NODE_STUCK_DOUBT],
           f->stuck[NODE_STUCK_LOG]);
    printf("messages     %" PRIu64 ", %" PRIu64 " MiB; %" PRIu64 " dropped\n",
           f->messages, f->bytes >> 20, f->dropped);
    printf("checks       %" PRIu64 " of a node's state, %" PRIu64
           " full replays; equal again after %.1f s on average\n",
           f->checks, f->replays,
           f->replays > 0 ? (double)f->equal_ms / 1000 / (double)f->replays : 0);
    printf("faults      ");
    for (unsigned i = 0; i < CLUSTER_FAULT_COUNT; i++)
        printf(" %s %" PRIu64 "%s", fault_names[i].name, f->faults[i],
               i + 1 < CLUSTER_FAULT_COUNT ? "," : "\n");
}

const struct kind kind_cluster = {.option = " --cluster",
                                  .length_ms = 6 * 60 * 1000,
                                  .faults = fault_names,
                                  .fault_count = CLUSTER_FAULT_COUNT,
                                  .mutants = &mutants_of_cluster,
                                  .run = run,
                                  .print = print};

/* tests/simulation/faults.c: what happens to a cluster's machines, disks and network, and ends again. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulation/broken.h"
#include "tests/simulation/cluster.h"
#include "tests/simulation/trace.h"

enum { CLONE = MEMBERS_MAX - 1 };

/* Something that lasts for a while. */
struct episode {
    enum cluster_fault fault;
    uint64_t serial;                /* of the member whose it is; 0: the network's */
    unsigned node;                  /* CLUSTER_reload: who is taken out */
    bool cut[NODES_MAX][NODES_MAX]; /* from, to */
};

static struct episode *lasts(struct cluster *c, enum cluster_fault fault,
                             const struct member *m, uint64_t most_ms)
{
    struct episode *e = calloc(1, sizeof *e);

    if (e == NULL)
        abort();
    e->fault = fault;
    e->serial = m != NULL ? m->serial : 0;
    c->figures->faults[fault]++;
    cluster_event(c, rng_wide(&c->fault, 500, most_ms), EVENT_ENDS, 0, e);
    return e;
}

/* Of all that there are; it may not run. */
static struct member *any(struct cluster *c)
{
    uint64_t i = rng_below(&c->fault, c->plan.nodes + (c->member[CLONE] != NULL));

    return c->member[i < c->plan.nodes ? i : CLONE];
}

/* ---- the network ---- */

static void cut_ways(struct cluster *c, const struct episode *e, bool mend)
{
    for (unsigned i = 0; i < NODES_MAX; i++) {
        for (unsigned j = 0; j < NODES_MAX; j++) {
            if (!e->cut[i][j])
                continue;
            c->way[i][j].cut += mend ? 0 : 1;
            c->way[i][j].cut -= mend ? 1 : 0;
            trace(mend ? TRACE_WAY_MENDED : TRACE_WAY_CUT, i, j);
        }
    }
}

static void split(struct cluster *c)
{
    struct episode *e = lasts(c, CLUSTER_split, NULL, 120 * 1000);
    uint64_t side = rng_below(&c->fault, 1U << c->plan.nodes);

    for (unsigned i = 0; i < c->plan.nodes; i++)
        for (unsigned j = 0; j < c->plan.nodes; j++)
            e->cut[i][j] = (side >> i & 1) != (side >> j & 1);
    cut_ways(c, e, false);
}

static void oneway(struct cluster *c)
{
    struct episode *e = lasts(c, CLUSTER_oneway, NULL, 120 * 1000);
    unsigned i = (unsigned)rng_below(&c->fault, c->plan.nodes),
             j = (unsigned)rng_below(&c->fault, c->plan.nodes);

    e->cut[i][j] = i != j;
    cut_ways(c, e, false);
}

static void partial(struct cluster *c)
{
    struct episode *e = lasts(c, CLUSTER_partial, NULL, 120 * 1000);

    for (unsigned i = 0; i < c->plan.nodes; i++)
        for (unsigned j = 0; j < i; j++) {
            e->cut[i][j] = rng_chance(&c->fault, 1, 2);
            e->cut[j][i] = e->cut[i][j];
        }
    cut_ways(c, e, false);
}

static void thin(struct cluster *c)
{
    unsigned i = (unsigned)rng_below(&c->fault, c->plan.nodes),
             j = (unsigned)rng_below(&c->fault, c->plan.nodes);

    lasts(c, CLUSTER_thin, NULL, 120 * 1000);
    c->way[i][j].thin = rng_wide(&c->fault, 5, 1000);
    trace(TRACE_THIN, i, j);
}

/* What still waits for such a way comes when it comes, and is overtaken. */
static void no_longer_thin(struct cluster *c)
{
    for (unsigned i = 0; i < NODES_MAX; i++) {
        for (unsigned j = 0; j < NODES_MAX; j++) {
            if (c->way[i][j].thin > 0)
                c->way[i][j].free_ms = c->way[i][j].last_ms = c->now_ms;
            c->way[i][j].thin = 0;
        }
    }
}

/* ---- machines ---- */

void faults_set_rates(struct member *m)
{
    struct cluster *c = m->cluster;
    struct simdisk_rates *rates = simdisk_rates(m->disk);
    uint32_t rate = cluster_has(c, CLUSTER_error) ? c->plan.error_rate : 0;

    rates->read_error = rates->write_error = rates->list_error = rate;
    rates->sync_error = 2 * rate;
    rates->remove_error = rates->make_error = rates->archive_refuses = 10 * rate;
    rates->make_differs = 4 * rate;
    rates->cut_make = 250000;
    if (rates->make_ms == 0 || c->calm)
        rates->make_ms = 50;
}

static void pause_it(struct cluster *c, struct member *m)
{
    uint64_t ms = rng_wide(&c->fault, 50, 30 * 1000);

    m->paused_until_ms = c->now_ms + ms;
    c->figures->faults[CLUSTER_pause]++;
    trace(TRACE_PAUSED, ms, 0);
}

static void wall_clock(struct cluster *c, struct member *m)
{
    static const uint64_t rates[] = {1000000, 1000000, 0, 900000, 1100000};
    int64_t most =
        rng_chance(&c->fault, 1, 2) ? 10 * 1000 : INT64_C(400) * 24 * 3600 * 1000;
    int64_t wall_ms = (int64_t)member_time(m).wall_ms +
                      (int64_t)rng_below(&c->fault, (uint64_t)(2 * most)) - most;

    m->clock.wall_ms = wall_ms > 0 ? (uint64_t)wall_ms : 0;
    m->clock.wall_since_ms = c->now_ms;
    m->clock.wall_rate = rates[rng_below(&c->fault, sizeof rates / sizeof *rates)];
    c->figures->faults[CLUSTER_clock]++;
    trace(TRACE_CLOCK, m->clock.wall_ms, m->clock.wall_rate);
}

static void full(struct cluster *c, struct member *m)
{
    simdisk_rates(m->disk)->full = true;
    trace(TRACE_FULL, 1, 0);
    lasts(c, CLUSTER_full, m, 120 * 1000);
}

static void slow(struct cluster *c, struct member *m)
{
    struct simdisk_rates *rates = simdisk_rates(m->disk);

    rates->slow = (uint32_t)rng_wide(&c->fault, 1000, 1000000);
    rates->sync_ms = rng_wide(&c->fault, 5, 2000);
    rates->make_ms = rng_wide(&c->fault, 50, 20 * 1000);
    trace(TRACE_SLOW, rates->sync_ms, rates->make_ms);
    lasts(c, CLUSTER_slow, m, 120 * 1000);
}

static void disk_mends(struct member *m, enum cluster_fault fault)
{
    struct simdisk_rates *rates = simdisk_rates(m->disk);

    if (fault == CLUSTER_full)
        rates->full = false;
    else
        rates->slow = 0;
    if (fault == CLUSTER_slow)
        rates->make_ms = 50;
}

/* Only a node that knows its cluster from its log may have a list that leaves somebody out: what a cluster without a
 * block is called goes by its list. */
static bool take_out(struct member *m, unsigned node)
{
    if (!member_runs(m) || core_streams(node_core(m->process))->count == 0 ||
        node == m->node || !m->listed[node])
        return false;
    m->listed[node] = false;
    trace_actor(m->name);
    trace(TRACE_UNLISTED, node, 0);
    member_reload(m);
    return true;
}

/* One node takes another out of its list, or all do: then the log goes without it. */
static void reload(struct cluster *c, struct member *m)
{
    unsigned node = (unsigned)rng_below(&c->fault, c->plan.nodes);
    bool all = rng_chance(&c->fault, 1, 2), any = false;

    for (size_t i = 0; i < MEMBERS_MAX; i++)
        if (c->member[i] != NULL && (all || c->member[i] == m))
            any = take_out(c->member[i], node) || any;
    if (any)
        lasts(c, CLUSTER_reload, NULL, 180 * 1000)->node = node;
}

static void listed_again(struct cluster *c, unsigned node)
{
    for (size_t i = 0; i < MEMBERS_MAX; i++) {
        struct member *m = c->member[i];

        if (m == NULL || m->listed[node] || (c->plan.unlisted && c->plan.late[node]))
            continue;
        m->listed[node] = true;
        trace_actor(m->name);
        trace(TRACE_LISTED, node, 0);
        member_reload(m);
    }
}

/* ---- directories ---- */

static void list_all(struct member *m)
{
    const struct cluster *c = m->cluster;

    for (unsigned i = 0; i < c->plan.nodes; i++)
        m->listed[i] = m->listed[i] || !c->plan.unlisted || !c->plan.late[i];
}

/* A resumed snapshot is one of memory, too. */
static struct position known(const struct member *m)
{
    const struct stream *own = streams_last_own(core_streams(node_core(m->process)));

    return own != NULL ? (struct position){own->end.position.stream, own->known}
                       : (struct position){0};
}

static void copy(struct member *m)
{
    if (!member_runs(m))
        return;
    simcopy_free(m->snapshot.files);
    m->snapshot.files = simdisk_copy(m->disk);
    held_copy(&m->snapshot.held, &m->ledger.held);
    held_copy(&m->snapshot.unread, &m->ledger.unread);
    m->snapshot.fresh = m->fresh;
    m->snapshot.known = known(m);
    m->has_snapshot = true;
    trace(TRACE_COPIED, held_blocks(&m->ledger.held), 0);
}

/* The directory is now as it was when the snapshot was taken. */
static void go_back(struct member *m, const struct snapshot *to)
{
    simdisk_restore(m->disk, to->files);
    ledger_clear(&m->ledger);
    held_copy(&m->ledger.held, &to->held);
    held_copy(&m->ledger.unread, &to->unread);
    m->fresh = to->fresh;
    m->knew = to->known;
    m->amnesia = true;
    list_all(m);
}

/* A copy whose log does not tell that there are others has to be told by its list: with nobody in it, it counts as a
 * founder does, and rightly says FINAL (seed 4812). */
static bool tells_of_peers(const struct member *m)
{
    for (size_t i = 0; i < m->ledger.held.size; i++)
        if (held_number(&m->ledger.held, i) > 0 &&
            archive_stream(m->cluster->archive, i)->provisional)
            return true;
    return false;
}

/* Who counts before he has a peer gives the cluster its name, at random; whoever wipes him founds another. */
static bool is_founder(const struct cluster *c, const struct member *m)
{
    for (unsigned i = 0; i < c->plan.nodes; i++)
        if (c->member[i] != m && held_blocks(&c->member[i]->ledger.held) > 0)
            return false;
    return c->plan.unlisted;
}

static void restore(struct cluster *c, struct member *m)
{
    bool resume = cluster_has(c, CLUSTER_resume) && rng_chance(&c->fault, 1, 2);

    if (!m->has_snapshot || is_founder(c, m) ||
        (!resume && !cluster_has(c, CLUSTER_restore)))
        return;
    c->figures->faults[resume ? CLUSTER_resume : CLUSTER_restore]++;
    trace(TRACE_RESTORED, held_blocks(&m->snapshot.held), held_blocks(&m->ledger.held));
    go_back(m, &m->snapshot);
    m->resume = resume;
    c->copied[m->node] = c->copied[m->node] || resume;
    c->resumed[m->node] = c->resumed[m->node] || resume;
}

static void wipe(struct cluster *c, struct member *m)
{
    if (is_founder(c, m))
        return;
    c->figures->faults[CLUSTER_wipe]++;
    trace(TRACE_WIPED, held_blocks(&m->ledger.held), 0);
    simdisk_wipe(m->disk);
    ledger_clear(&m->ledger);
    m->amnesia = true;
    m->resume = m->ledger.peered = false;
    list_all(m);
}

void faults_between(struct member *m)
{
    struct cluster *c = m->cluster;

    if (c->calm)
        return;
    if (m->has_snapshot && rng_chance(&c->fault, 1, 3))
        restore(c, m);
    if (cluster_has(c, CLUSTER_wipe) && rng_chance(&c->fault, 1, 6))
        wipe(c, m);
}

/* ---- clones ---- */

static void clone(struct cluster *c, struct member *m)
{
    bool resume = cluster_has(c, CLUSTER_resume) && rng_chance(&c->fault, 1, 3);
    struct snapshot now = {.files = NULL, .fresh = m->fresh};
    struct member *twin;

    if (!member_runs(m) || c->member[CLONE] != NULL || m->index >= c->plan.nodes ||
        is_founder(c, m))
        return;
    if (!resume || !m->has_snapshot) {
        now.files = simdisk_copy(m->disk);
        held_copy(&now.held, &m->ledger.held);
        held_copy(&now.unread, &m->ledger.unread);
        now.known = known(m);
    }
    twin = member_new(c, CLONE, m->node);
    c->member[CLONE] = twin;
    go_back(twin, now.files != NULL ? &now : &m->snapshot);
    if (tells_of_peers(twin))
        memcpy(twin->listed, m->listed, sizeof twin->listed);
    twin->resume = resume;
    twin->ledger.peered = m->ledger.peered;
    c->copied[m->node] = m->ledger.copied = true;
    c->resumed[m->node] = c->resumed[m->node] || resume;
    c->clone_share = (unsigned)rng_between(&c->fault, 0, 4) * 25;
    trace(TRACE_CLONED, m->node, resume);
    simcopy_free(now.files);
    held_clear(&now.held);
    held_clear(&now.unread);
    lasts(c, CLUSTER_clone, twin, 120 * 1000);
    cluster_event(c, rng_wide(&c->fault, 10, 5000), EVENT_START, twin->run, NULL);
}

/* One of the two is ended, machine and all; the other one is the node from here on. */
static void clone_ends(struct cluster *c)
{
    struct member *twin = c->member[CLONE], *first;

    if (twin == NULL)
        return;
    c->member[CLONE] = NULL;
    if (rng_chance(&c->fault, 1, 2)) {
        trace(TRACE_CLONE_ENDS, twin->node, 0);
        member_free(twin);
        return;
    }
    first = c->member[twin->node];
    trace(TRACE_CLONE_STAYS, twin->node, 0);
    twin->index = twin->node;
    twin->name[2] = '\0';
    c->member[twin->node] = twin;
    member_free(first);
}

/* ---- what comes when ---- */

static void of_network(struct cluster *c, enum cluster_fault fault)
{
    switch (fault) {
    case CLUSTER_split:
        split(c);
        break;
    case CLUSTER_oneway:
        oneway(c);
        break;
    case CLUSTER_partial:
        partial(c);
        break;
    case CLUSTER_thin:
        thin(c);
        break;
    default:
        break;
    }
}

static void of_machine(struct cluster *c, struct member *m, enum cluster_fault fault)
{
    switch (fault) {
    case CLUSTER_pause:
        pause_it(c, m);
        break;
    case CLUSTER_clock:
        wall_clock(c, m);
        break;
    case CLUSTER_full:
        full(c, m);
        break;
    case CLUSTER_slow:
        slow(c, m);
        break;
    case CLUSTER_stop:
        if (member_runs(m) && !m->stopping) {
            c->figures->faults[CLUSTER_stop]++;
            member_stop(m);
        }
        break;
    case CLUSTER_reload:
        reload(c, m);
        break;
    case CLUSTER_restore:
    case CLUSTER_resume:
        copy(m);
        break;
    case CLUSTER_clone:
        clone(c, m);
        break;
    default:
        break;
    }
}

void faults_begin(struct cluster *c)
{
    struct member *m = any(c);
    enum cluster_fault fault;

    for (unsigned tries = 0; tries < 4; tries++) {
        fault = (enum cluster_fault)rng_below(&c->fault, CLUSTER_FAULT_COUNT);
        if (cluster_has(c, fault))
            break;
    }
    if (!cluster_has(c, fault))
        return;
    if (fault < CLUSTER_pause) {
        of_network(c, fault);
        return;
    }
    trace_actor(m->name);
    of_machine(c, m, fault);
}

void faults_end(struct cluster *c, struct episode *e)
{
    struct member *m = member_of_serial(c, e->serial);

    if (m != NULL)
        trace_actor(m->name);
    if (c->calm) {
        free(e); /* All was mended already. */
        return;
    }
    cut_ways(c, e, true);
    if (e->fault == CLUSTER_thin)
        no_longer_thin(c);
    if (e->fault == CLUSTER_clone)
        clone_ends(c);
    if (m != NULL && (e->fault == CLUSTER_full || e->fault == CLUSTER_slow))
        disk_mends(m, e->fault);
    if (e->fault == CLUSTER_reload)
        listed_again(c, e->node);
    free(e);
}

void faults_crash(struct cluster *c)
{
    struct member *m = any(c);
    uint64_t actions = rng_wide(&c->fault, 1, 100);

    if (!member_runs(m) || simdisk_armed(m->disk))
        return;
    trace_actor(m->name);
    trace(TRACE_ARMED, actions, 0);
    simdisk_arm(m->disk, actions);
}

void faults_cease(struct cluster *c)
{
    clone_ends(c);
    for (unsigned i = 0; i < NODES_MAX; i++)
        for (unsigned j = 0; j < NODES_MAX; j++)
            c->way[i][j].cut = 0;
    no_longer_thin(c);
    for (unsigned i = 0; i < c->plan.nodes; i++) {
        struct member *m = c->member[i];

        trace_actor(m->name);
        *simdisk_rates(m->disk) = (struct simdisk_rates){.make_ms = 50};
        m->resume = false;
        m->paused_until_ms = 0;
        if (member_runs(m))
            simdisk_arm(m->disk, 0);
        for (unsigned j = 0; j < c->plan.nodes; j++)
            m->listed[j] = true;
        member_reload(m);
    }
}

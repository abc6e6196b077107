/* tests/simulation/member.c: the state process of one machine of a cluster: does what replica/state.c and
 * replica/network.c do, over the simulated disk and network, and dies where it is told to. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulation/broken.h"
#include "tests/simulation/cluster.h"
#include "tests/simulation/mutants.h"
#include "tests/simulation/trace.h"

enum {
    TURN_MESSAGES = 64,
    TURN_COUNTS = 700, /* so that a block of a burst has about 64 KiB */
    RESTART_TRIES_MAX = 200,
    START_MAX_MS = 5000,
};

/* replica/node.h's random() has no argument; one history runs in a process. */
static struct rng *drawn_from;

static void draw(void *to, size_t len)
{
    rng_bytes(drawn_from, to, len);
}

bool member_runs(const struct member *m)
{
    return m != NULL && m->process != NULL;
}

struct member *member_of_run(struct cluster *c, uint64_t run)
{
    for (size_t i = 0; i < MEMBERS_MAX; i++)
        if (c->member[i] != NULL && c->member[i]->run == run)
            return c->member[i];
    return NULL;
}

struct member *member_of_serial(struct cluster *c, uint64_t serial)
{
    for (size_t i = 0; i < MEMBERS_MAX; i++)
        if (c->member[i] != NULL && c->member[i]->serial == serial)
            return c->member[i];
    return NULL;
}

struct node_time member_time(const struct member *m)
{
    const struct clock *k = &m->clock;
    uint64_t now_ms = m->cluster->now_ms;

    return (struct node_time){
        .mono_ms = k->mono_ms + (now_ms - k->mono_since_ms) * k->mono_rate / 1000000,
        .wall_ms = k->wall_ms + (now_ms - k->wall_since_ms) * k->wall_rate / 1000000,
    };
}

/* How long it is until its own monotonic clock says so. */
static uint64_t until(const struct member *m, uint64_t mono_ms)
{
    uint64_t now_ms = member_time(m).mono_ms;

    return mono_ms <= now_ms ? 1 : (mono_ms - now_ms) * 1000000 / m->clock.mono_rate + 1;
}

/* ---- the disk ---- */

static void watch_writes(void *arg, const struct simfile *file, uint64_t offset,
                         const void *bytes, size_t len)
{
    ledger_writes(&((struct member *)arg)->ledger, file, offset, bytes, len);
}

static void watch_synced(void *arg, const struct simfile *file)
{
    ledger_synced(&((struct member *)arg)->ledger, file);
}

static void watch_made(void *arg, const struct simfile *file)
{
    struct member *m = arg;
    struct held before = {0};

    held_copy(&before, &m->ledger.held);
    ledger_made(&m->ledger, file);
    m->cluster->figures->adopted += m->ledger.adopted;
    if (m->ledger.adopted && m->process != NULL)
        check_adopted(m, &before);
    held_clear(&before);
}

static void watch_removes(void *arg, const struct simfile *file)
{
    check_removed_log(arg, file);
}

static void watch_make(void *arg, uint64_t takes_ms)
{
    struct member *m = arg;

    cluster_event(m->cluster, takes_ms, EVENT_MADE, m->run, NULL);
}

struct member *member_new(struct cluster *c, unsigned index, unsigned node)
{
    struct member *m = calloc(1, sizeof *m);
    const struct simdisk_watch watch = {.writes = watch_writes,
                                        .synced = watch_synced,
                                        .removes = watch_removes,
                                        .make_begins = watch_make,
                                        .made = watch_made,
                                        .arg = m};

    if (m == NULL)
        abort();
    m->cluster = c;
    m->index = index;
    m->node = node;
    m->serial = m->run = ++c->runs;
    snprintf(m->name, sizeof m->name, "n%u%s", node, index != node ? "'" : "");
    m->disk =
        simdisk_new(c->options->seed + m->run * UINT64_C(0x9e3779b97f4a7c15), &watch);
    m->ledger = (struct ledger){
        .archive = c->archive, .node = node, .requests = c->plan.requests};
    m->clock.mono_ms = rng_wide(&c->rng, 1, UINT64_C(10000000000));
    m->clock.mono_rate = m->clock.wall_rate = 1000000;
    m->clock.wall_ms = UINT64_C(1700000000000);
    m->clock.mono_since_ms = m->clock.wall_since_ms = c->now_ms;
    if (cluster_has(c, CLUSTER_clock))
        m->clock.mono_rate = rng_between(&c->rng, 900000, 1100000);
    for (unsigned i = 0; i < c->plan.nodes; i++)
        m->listed[i] = !c->plan.unlisted || !c->plan.late[i];
    return m;
}

void member_free(struct member *m)
{
    if (m->process != NULL)
        member_kill(m, false);
    load_end(m);
    ledger_clear(&m->ledger);
    held_clear(&m->snapshot.held);
    held_clear(&m->snapshot.unread);
    for (unsigned i = 0; i < NODES_MAX; i++)
        held_clear(&m->said[i]);
    held_clear(&m->saying);
    simcopy_free(m->snapshot.files);
    simdisk_free(m->disk);
    free(m->packets);
    free(m);
}

/* ---- start ---- */

static void on_reply(void *arg, uint64_t ticket, const struct msg_count_rep *rep)
{
    struct ask *ask = (struct ask *)(uintptr_t)ticket;
    struct member *m = arg;

    ledger_applied(&m->ledger);
    if (simdisk_must_stop(m->disk))
        broken("a count is answered after a write or a sync failed");
    if (!simdisk_act(m->disk))
        return; /* It died before it could say so. */
    trace(TRACE_ANSWER, rep->status, (uint64_t)rep->number);
    check_number(m, ask, rep);
    load_answered(m, ask, rep);
}

static void on_send(void *arg, size_t peer, const uint8_t *bytes, size_t len)
{
    struct member *m = arg;

    if (!simdisk_act(m->disk))
        return;
    spy_sent(m, m->peer[peer], bytes, len);
    net_send(m, m->peer[peer], bytes, len);
}

static void configure(struct member *m, struct node_config *config)
{
    const struct cluster_plan *plan = &m->cluster->plan;

    *config = (struct node_config){.disk = simdisk_interface(m->disk),
                                   .segment_bytes = WAL_SEGMENT_MIN,
                                   .checkpoint_bytes = plan->checkpoint_bytes,
                                   .checkpoint_ms = plan->checkpoint_ms,
                                   .slice = plan->slice,
                                   .reply = on_reply,
                                   .reply_arg = m,
                                   .random = draw};
    config->core.crypto = m->cluster->crypto;
    config->core.key = m->cluster->keys[m->node];
    snprintf(config->core.node_name, sizeof config->core.node_name, "node-%u", m->node);
    config->core.items_max = 1000;
    config->core.requests = plan->requests;
    draw(&config->core.cluster, sizeof config->core.cluster);
    draw(&config->core.stream, sizeof config->core.stream);
}

/* Its tally.conf, this node left out. */
static void set_peers(struct member *m)
{
    struct peer_config list[NODES_MAX];
    size_t count = 0, bad;
    enum err err;

    for (unsigned i = 0; i < m->cluster->plan.nodes; i++) {
        if (i == m->node || !m->listed[i])
            continue;
        m->peer[count] = i;
        list[count].key = m->cluster->keys[i].public;
        snprintf(list[count++].name, sizeof list->name, "node-%u", i);
    }
    m->ledger.peered = m->ledger.peered || count > 0;
    err = peers_set(m->peers, list, count, &bad);
    if (err != ERR_OK)
        broken("a list of peers is refused: %s", err_name(err));
}

static void open_peers(struct member *m)
{
    const struct peers_config config = {.crypto = m->cluster->crypto,
                                        .node = m->process,
                                        .key = m->cluster->keys[m->node],
                                        .join_wait_ms = m->cluster->plan.join_wait_ms,
                                        .send = on_send,
                                        .arg = m,
                                        .random = draw};

    m->peers = peers_new(&config);
    if (m->peers == NULL)
        abort();
    set_peers(m);
    m->fresh = peers_count(m->peers) > 0 &&
               (m->fresh || core_streams(node_core(m->process))->count == 0);
    memset(m->heard, 0, sizeof m->heard);
    m->join_ms = member_time(m).mono_ms + m->cluster->plan.join_wait_ms;
}

/* A snapshot that is resumed knows its stream, the last of its own, and goes on with it. Where what the log tells of this is
 * another stream, it was no memory that could have been resumed. */
static bool goes_on(const struct member *m)
{
    const struct position last = node_position(m->process);
    struct core_figures figures;

    core_figures(node_core(m->process), &figures);
    return id_equal(&last.stream, &figures.stream);
}

/* What it knew of its peers goes on, too. */
static void know(const struct member *m)
{
    struct core *core = node_core(m->process);
    const struct stream *own = streams_last_own(core_streams(core));

    if (own->end.position.number == m->knew.number &&
        id_equal(&own->end.position.stream, &m->knew.stream))
        core_heard(core, &own->end);
}

static enum err open_resumed(struct member *m, const struct node_config *config)
{
    enum mutant active = mutant_active;
    enum err err;

    mutant_active = MUTANT_resume_stream;
    err = node_open(config, member_time(m), &m->process);
    mutant_active = active;
    if (err == ERR_OK && goes_on(m))
        know(m);
    if (err != ERR_OK || goes_on(m))
        return err;
    node_close(m->process);
    m->resume = false;
    return node_open(config, member_time(m), &m->process);
}

static enum err open_node(struct member *m, const struct node_config *config)
{
    struct core_figures figures;
    enum err err = m->resume ? open_resumed(m, config)
                             : node_open(config, member_time(m), &m->process);

    if (err != ERR_OK) {
        m->process = NULL;
        return err;
    }
    core_figures(node_core(m->process), &figures);
    m->stream = figures.stream;
    if (m->resume)
        archive_may_fork(m->cluster->archive, &m->stream);
    m->resume = false;
    return ERR_OK;
}

static void judge(const struct member *m, enum err err)
{
    if (simdisk_dead(m->disk) || (err == ERR_IO && simdisk_failed(m->disk)))
        return;
    if (err != ERR_OK)
        broken("the start fails with error %s, and nothing went wrong", err_name(err));
}

void member_start(struct member *m)
{
    struct cluster *c = m->cluster;
    struct node_config config;
    enum err err;

    drawn_from = &c->rng;
    m->run = ++c->runs;
    m->failed = ERR_OK;
    m->stopping = m->turn_due = false;
    m->due_ms = m->paused_until_ms = 0;
    c->figures->starts++;
    trace(TRACE_START, m->run, m->starts + 1);
    simdisk_open(m->disk);
    simdisk_took_none(m->disk);
    faults_set_rates(m);
    if (!c->calm && cluster_has(c, CLUSTER_recovery) && rng_chance(&c->fault, 1, 4)) {
        uint64_t actions = rng_wide(&c->fault, 1, 60);

        c->figures->faults[CLUSTER_recovery]++;
        trace(TRACE_ARMED, actions, 0);
        simdisk_arm(m->disk, actions);
    }
    configure(m, &config);
    err = open_node(m, &config);
    judge(m, err);
    if (err != ERR_OK) {
        m->failed = err;
        member_bury(m, false);
        return;
    }
    m->ledger.copied = c->copied[m->node];
    m->ledger.forgets = m->amnesia;
    ledger_recovered(&m->ledger, node_core(m->process));
    trace(TRACE_RECOVERED, 0, held_blocks(&m->ledger.held));
    c->figures->recoveries++;
    m->starts = 0;
    m->busy_until_ms = c->now_ms + simdisk_took_ms(m->disk);
    open_peers(m);
    core_set_copies(node_core(m->process), c->plan.copies, c->plan.copies_wait_ms);
    load_connected(m);
    member_turn_soon(m);
}

/* ---- end ---- */

void member_kill(struct member *m, bool power)
{
    simdisk_kill(m->disk);
    simdisk_crash(m->disk, power);
    if (m->peers != NULL)
        peers_free(m->peers);
    if (m->process != NULL)
        node_close(m->process);
    m->peers = NULL;
    m->process = NULL;
    ledger_ends(&m->ledger);
    load_gone(m);
    for (size_t i = 0; i < m->packet_count; i++)
        free(m->packets[i]);
    m->packet_count = m->packet_bytes = 0;
    if (power) { /* Its machine starts anew, and that clock with it. */
        m->clock.mono_ms = rng_wide(&m->cluster->rng, 1, 100000);
        m->clock.mono_since_ms = m->cluster->now_ms;
    }
}

void member_bury(struct member *m, bool power)
{
    struct cluster *c = m->cluster;
    bool both = cluster_has(c, CLUSTER_power) && cluster_has(c, CLUSTER_kill);

    trace(simdisk_dead(m->disk) ? TRACE_KILLED : TRACE_FAILED, m->failed, 0);
    if (!c->calm && cluster_has(c, CLUSTER_power) &&
        (!both || rng_chance(&c->fault, 1, 2)))
        power = true;
    c->figures->faults[power ? CLUSTER_power : CLUSTER_kill]++;
    member_kill(m, power);
    if (!power && rng_chance(&c->fault, 1, 4))
        simdisk_evict(m->disk);
    faults_between(m);
    if (++m->starts > RESTART_TRIES_MAX)
        broken("it does not start in %u tries", m->starts);
    cluster_event(c,
                  rng_wide(&c->rng, 10,
                           !c->calm && rng_chance(&c->fault, 1, 8) ? 20 * START_MAX_MS
                                                                   : START_MAX_MS),
                  EVENT_START, m->run, NULL);
}

static bool alive(struct member *m, enum err err)
{
    if (err == ERR_OK && !simdisk_dead(m->disk)) {
        if (simdisk_must_stop(m->disk))
            broken("an error of the disk is passed over");
        return true;
    }
    if (err != ERR_OK && !simdisk_dead(m->disk) && !simdisk_failed(m->disk))
        broken("the process stops with error %s, and nothing went wrong", err_name(err));
    m->failed = err;
    return false;
}

void member_stop(struct member *m)
{
    trace(TRACE_STOPPING, 0, 0);
    m->stopping = true;
    node_want_checkpoint(m->process);
    member_turn_soon(m);
}

/* ---- work ---- */

void member_turn_soon(struct member *m)
{
    struct cluster *c = m->cluster;
    uint64_t at_ms = m->busy_until_ms;

    if (m->turn_due || m->process == NULL)
        return;
    m->turn_due = true;
    cluster_event(c, at_ms > c->now_ms ? at_ms - c->now_ms : 0, EVENT_TURN, m->run, NULL);
}

void member_packet(struct member *m, struct packet *p)
{
    if (m->packet_count == m->packet_size) {
        m->packet_size = m->packet_size == 0 ? 16 : 2 * m->packet_size;
        m->packets = realloc(m->packets, m->packet_size * sizeof(void *));
        if (m->packets == NULL)
            abort();
    }
    m->packets[m->packet_count++] = p;
    m->packet_bytes += p->len;
    member_turn_soon(m);
}

/* What was dropped: it is nobody's word, or was heard before. */
static uint64_t dropped(const struct member *m, unsigned node)
{
    struct peer_figures figures;

    for (size_t i = 0; i < peers_count(m->peers); i++) {
        if (m->peer[i] != node)
            continue;
        peers_figures(m->peers, i, &figures);
        return figures.stale + figures.forged;
    }
    return 0;
}

static enum err take_packet(struct member *m, struct packet *p)
{
    uint8_t type = spy_arrives(m, p), nonce[LINK_NONCE_BYTES];
    uint64_t before = dropped(m, p->from);
    enum peers_sender sender;
    enum err err;

    trace(TRACE_RECEIVED, p->from, p->len);
    m->packet_bytes -= p->len;
    if (type != 0)
        memcpy(nonce, p->bytes + LINK_HINT_BYTES, sizeof nonce);
    err = peers_receive(m->peers, p->bytes, p->len, member_time(m).mono_ms, &sender);
    if (type != 0 && sender == PEERS_PEER && dropped(m, p->from) == before)
        spy_taken(m, p->from, nonce, type);
    free(p);
    return err;
}

static enum err take_packets(struct member *m)
{
    enum err err = ERR_OK;
    size_t n = 0;

    while (n < m->packet_count && n < TURN_MESSAGES && err == ERR_OK &&
           !node_short(m->process) && simdisk_act(m->disk))
        err = take_packet(m, m->packets[n++]);
    m->packet_count -= n;
    if (m->packet_count > 0)
        memmove(m->packets, m->packets + n, m->packet_count * sizeof(void *));
    return err;
}

static void due_at(struct member *m, uint64_t mono_ms)
{
    uint64_t at_ms;

    if (mono_ms == UINT64_MAX)
        return;
    at_ms = m->cluster->now_ms + until(m, mono_ms);
    if (m->due_ms > m->cluster->now_ms && m->due_ms <= at_ms)
        return; /* That one looks again. */
    m->due_ms = at_ms;
    cluster_event(m->cluster, at_ms - m->cluster->now_ms, EVENT_DUE, m->run, NULL);
}

/* What follows a commit. */
static void settle(struct member *m)
{
    struct node_time now = member_time(m);
    uint64_t peers_ms = UINT64_MAX, node_ms;
    enum err err;

    check_joins(m);
    peers_turn(m->peers, now.mono_ms, &peers_ms);
    err = node_maintain(m->process, now, &node_ms);
    if (!alive(m, err)) {
        member_bury(m, false);
        return;
    }
    ledger_applied(&m->ledger); /* What was put off. */
    if (m->stopping && !node_busy(m->process)) {
        trace(TRACE_STOPPED, 0, 0);
        member_bury(m, false);
        return;
    }
    if (rng_chance(&m->cluster->rng, 1, 32))
        check_member(m);
    due_at(m, peers_ms < node_ms ? peers_ms : node_ms);
    if ((m->packet_count > 0 || m->queue.count > 0) && !node_short(m->process))
        member_turn_soon(m);
}

/* Whether it stands still: then what came is to come again later. */
static bool paused(struct member *m, enum cluster_event kind)
{
    struct cluster *c = m->cluster;

    if (m->paused_until_ms <= c->now_ms)
        return false;
    cluster_event(c, m->paused_until_ms - c->now_ms, kind, m->run, NULL);
    return true;
}

void member_turn(struct member *m)
{
    size_t most = m->cluster->plan.requests / 2;
    enum err err;

    if (paused(m, EVENT_TURN))
        return;
    m->turn_due = false;
    simdisk_took_none(m->disk);
    err = load_take(m, most < TURN_COUNTS ? most : TURN_COUNTS);
    if (err == ERR_OK && !simdisk_dead(m->disk))
        err = take_packets(m);
    if (err == ERR_OK && !simdisk_dead(m->disk))
        err = node_commit(m->process, member_time(m));
    if (err == ERR_OK && !simdisk_dead(m->disk)) {
        ledger_applied(&m->ledger);
        err = load_retire(m);
    }
    if (!alive(m, err)) {
        member_bury(m, false);
        return;
    }
    ledger_applied(&m->ledger);
    m->busy_until_ms = m->cluster->now_ms + simdisk_took_ms(m->disk);
    settle(m);
}

void member_reload(struct member *m)
{
    if (m->process == NULL)
        return;
    if (!alive(m, node_flush(m->process, member_time(m)))) {
        member_bury(m, false);
        return;
    }
    ledger_applied(&m->ledger);
    set_peers(m);
    member_turn_soon(m);
}

/* What was put off is made durable before peers are told what is held. */
static void commit_and_settle(struct member *m)
{
    if (!alive(m, node_commit(m->process, member_time(m)))) {
        member_bury(m, false);
        return;
    }
    ledger_applied(&m->ledger);
    settle(m);
}

void member_due(struct member *m)
{
    if (paused(m, EVENT_DUE))
        return;
    commit_and_settle(m);
}

void member_made(struct member *m)
{
    if (paused(m, EVENT_MADE))
        return;
    simdisk_make_ends(m->disk);
    commit_and_settle(m);
}

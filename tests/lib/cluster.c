#include "tests/lib/cluster.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/history.h"
#include "tests/lib/memory_disk.h"

enum { STEP_MS = 1, SEGMENT_BYTES = WAL_SEGMENT_MIN, TICKETS_MAX = 1024 };

/* What was asked by cluster_ask(), and answered. */
struct asked {
    unsigned answers;
    struct msg_count_rep rep;
};

struct packet {
    struct packet *next;
    size_t to, len;
    uint64_t due_ms;
    uint8_t bytes[];
};

struct member {
    struct cluster *cluster;
    size_t index;
    size_t
        self; /* the member whose key it has: its own index, or another's that it is a copy of */
    size_t reached_at; /* the member that who dials it reaches */
    struct id stream;
    struct disk *disk, *backup;
    struct node *node; /* NULL: it does not run */
    struct peers *peers;
    size_t listed[CLUSTER_MAX]; /* the peers' list: members' indices */
    uint64_t next_ms;
    struct msg_count_rep rep;
    unsigned copies; /* 0: it was not told */
    uint64_t copies_wait_ms;
    struct asked asked[TICKETS_MAX]; /* by ticket; 0 is not looked for */
    uint64_t tickets;
};

struct cluster {
    struct member member[CLUSTER_MAX];
    size_t count;
    bool cut[CLUSTER_MAX][CLUSTER_MAX];      /* from, to */
    bool unlisted[CLUSTER_MAX][CLUSTER_MAX]; /* node, and who is not in its list */
    unsigned lost, repeated;
    struct packet *network;
    uint64_t now_ms, chance, requests;
    void (*tap)(void *arg, const uint8_t *bytes, size_t len);
    void *tap_arg;
};

static uint64_t chance(struct cluster *c)
{
    c->chance ^= c->chance << 13;
    c->chance ^= c->chance >> 7;
    c->chance ^= c->chance << 17;
    return c->chance;
}

/* Ids only have to differ, so they need not be the same in every run. */
static void random_bytes(void *to, size_t len)
{
    randombytes_buf(to, len);
}

static void packet_add(struct cluster *c, size_t to, const uint8_t *bytes, size_t len)
{
    struct packet *packet = malloc(sizeof *packet + len), **end = &c->network;

    assert(packet != NULL);
    *packet =
        (struct packet){.to = to, .len = len, .due_ms = c->now_ms + 1 + chance(c) % 5};
    memcpy(packet->bytes, bytes, len);
    while (*end != NULL)
        end = &(*end)->next;
    *end = packet;
}

static void on_send(void *arg, size_t peer, const uint8_t *bytes, size_t len)
{
    struct member *m = arg;
    struct cluster *c = m->cluster;
    size_t to = c->member[m->listed[peer]].reached_at;

    if (c->tap != NULL)
        c->tap(c->tap_arg, bytes, len);
    if (c->cut[m->index][to] || chance(c) % 100 < c->lost)
        return;
    packet_add(c, to, bytes, len);
    if (chance(c) % 100 < c->repeated)
        packet_add(c, to, bytes, len);
}

static void on_reply(void *arg, uint64_t ticket, const struct msg_count_rep *rep)
{
    struct member *m = arg;

    m->rep = *rep;
    m->asked[ticket].answers++;
    m->asked[ticket].rep = *rep;
}

static struct node_time now(const struct cluster *c)
{
    return (struct node_time){.mono_ms = c->now_ms, .wall_ms = 1000000 + c->now_ms};
}

static void settle(struct member *m)
{
    uint64_t next_ms;
    enum err err = node_commit(m->node, now(m->cluster));

    if (err == ERR_OK)
        err = node_maintain(m->node, now(m->cluster), &next_ms);
    assert(err == ERR_OK);
    peers_turn(m->peers, m->cluster->now_ms, &m->next_ms);
    if (next_ms < m->next_ms)
        m->next_ms = next_ms;
}

static void set_peers(struct member *m)
{
    struct cluster *c = m->cluster;
    struct peer_config list[CLUSTER_MAX];
    size_t count = 0, bad;
    enum err err;

    for (size_t i = 0; i < c->count; i++) {
        if (i == m->self || c->member[i].self != i || c->unlisted[m->index][i])
            continue;
        m->listed[count] = i;
        list[count] = (struct peer_config){.name = "peer"};
        list[count++].key = history_key((uint8_t)(i + 1)).public;
    }
    err = core_unwritten(node_core(m->node)) ? node_flush(m->node, now(c)) : ERR_OK;
    assert(err == ERR_OK);
    err = peers_set(m->peers, list, count, &bad);
    assert(err == ERR_OK);
}

static void set_copies(struct member *m)
{
    if (m->copies == 0)
        return;
    core_set_copies(node_core(m->node), m->copies, m->copies_wait_ms);
    set_peers(m);
}

void cluster_set_copies(struct cluster *c, size_t node, unsigned copies, uint64_t wait_ms)
{
    struct member *m = &c->member[node];

    m->copies = copies;
    m->copies_wait_ms = wait_ms;
    if (m->node == NULL)
        return;
    set_copies(m);
    settle(m);
}

void cluster_list(struct cluster *c, size_t node, size_t peer, bool listed)
{
    c->unlisted[node][peer] = !listed;
    if (c->member[node].node != NULL)
        set_peers(&c->member[node]);
}

static void start(struct member *m)
{
    struct cluster *c = m->cluster;
    struct node_config config = {.disk = m->disk,
                                 .core = history_config((uint8_t)(m->self + 1), 0),
                                 .segment_bytes = SEGMENT_BYTES,
                                 .checkpoint_bytes = SEGMENT_BYTES,
                                 .checkpoint_ms = 60000,
                                 .reply = on_reply,
                                 .reply_arg = m,
                                 .random = random_bytes};
    struct peers_config peers = {.crypto = &crypto_real,
                                 .send = on_send,
                                 .arg = m,
                                 .random = random_bytes,
                                 .join_wait_ms = 2000};
    enum err err;

    config.core.requests = 1024; /* more than a block has */
    config.core.items_max = 100000;
    config.core.stream = m->stream;
    peers.key = config.core.key;
    err = node_open(&config, now(c), &m->node);
    assert(err == ERR_OK);
    peers.node = m->node;
    m->peers = peers_new(&peers);
    assert(m->peers != NULL);
    set_peers(m);
    set_copies(m);
    settle(m);
    settle(m);
}

void cluster_start(struct cluster *c, size_t node)
{
    random_bytes(&c->member[node].stream, sizeof c->member[node].stream);
    start(&c->member[node]);
}

static bool all_open(struct cluster *c)
{
    for (size_t i = 0; i < c->count; i++)
        if (!core_is_open(node_core(c->member[i].node)))
            return false;
    return true;
}

struct cluster *cluster_new(size_t count, uint64_t seed)
{
    struct cluster *c = calloc(1, sizeof *c);

    assert(c != NULL && count <= CLUSTER_MAX && sodium_init() >= 0);
    c->count = count;
    c->chance = seed * 2654435761u + 88172645463325252u;
    c->now_ms = 1000;
    for (size_t i = 0; i < count; i++)
        c->member[i] = (struct member){.cluster = c,
                                       .index = i,
                                       .self = i,
                                       .reached_at = i,
                                       .disk = memory_disk_new()};
    for (size_t i = 0; i < count; i++)
        cluster_start(c, i);
    while (!all_open(c)) /* They meet, and find that nobody holds anything. */
        cluster_run(c, 100);
    return c;
}

static void stop(struct member *m)
{
    if (m->node == NULL)
        return;
    peers_free(m->peers);
    node_close(m->node);
    m->node = NULL;
    m->peers = NULL;
}

void cluster_free(struct cluster *c)
{
    struct packet *packet;

    for (size_t i = 0; i < c->count; i++) {
        stop(&c->member[i]);
        memory_disk_free(c->member[i].disk);
        if (c->member[i].backup != NULL)
            memory_disk_free(c->member[i].backup);
    }
    while ((packet = c->network) != NULL) {
        c->network = packet->next;
        free(packet);
    }
    free(c);
}

void cluster_set_loss(struct cluster *c, unsigned lost, unsigned repeated)
{
    c->lost = lost;
    c->repeated = repeated;
}

void cluster_cut(struct cluster *c, size_t from, size_t to, bool cut)
{
    c->cut[from][to] = cut;
}

void cluster_inject(struct cluster *c, size_t node, const uint8_t *bytes, size_t len)
{
    struct member *m = &c->member[node];
    uint8_t *copy = malloc(len);
    enum peers_sender sender;
    enum err err;

    assert(copy != NULL);
    memcpy(copy, bytes, len);
    err = peers_receive(m->peers, copy, len, c->now_ms, &sender);
    assert(err == ERR_OK);
    free(copy);
    settle(m);
}

static void deliver(struct cluster *c)
{
    struct packet **at = &c->network, *packet;

    while ((packet = *at) != NULL) {
        if (packet->due_ms > c->now_ms) {
            at = &packet->next;
            continue;
        }
        *at = packet->next;
        if (c->member[packet->to].node != NULL)
            cluster_inject(c, packet->to, packet->bytes, packet->len);
        free(packet);
    }
}

void cluster_run(struct cluster *c, uint64_t ms)
{
    for (uint64_t end = c->now_ms + ms; c->now_ms < end;) {
        c->now_ms += STEP_MS;
        deliver(c);
        for (size_t i = 0; i < c->count; i++)
            if (c->member[i].node != NULL && c->now_ms >= c->member[i].next_ms)
                settle(&c->member[i]);
    }
}

struct msg_count_rep cluster_count(struct cluster *c, size_t node, const char *name)
{
    struct member *m = &c->member[node];
    struct msg_count_req req = history_req(++c->requests, name, 1);
    enum err err;

    req.heard = node_position(m->node);
    err = node_count(m->node, &req, 0, now(c));
    assert(err == ERR_OK);
    settle(m);
    return m->rep;
}

struct msg_count_rep cluster_repeat(struct cluster *c, size_t node, const char *name,
                                    const struct id *id)
{
    struct member *m = &c->member[node];
    struct msg_count_req req = history_req(0, name, 1);
    enum err err;

    req.id = *id;
    err = node_count(m->node, &req, 0, now(c));
    assert(err == ERR_OK);
    settle(m);
    return m->rep;
}

static uint64_t ask(struct member *m, const struct msg_count_req *req)
{
    uint64_t ticket = ++m->tickets;
    enum err err;

    assert(ticket < TICKETS_MAX);
    err = node_count(m->node, req, ticket, now(m->cluster));
    assert(err == ERR_OK);
    settle(m);
    return ticket;
}

uint64_t cluster_ask(struct cluster *c, size_t node, const char *name, struct id *id)
{
    struct member *m = &c->member[node];
    struct msg_count_req req = history_req(++c->requests, name, 1);

    req.heard = node_position(m->node);
    *id = req.id;
    return ask(m, &req);
}

uint64_t cluster_ask_again(struct cluster *c, size_t node, const char *name,
                           const struct id *id)
{
    struct msg_count_req req = history_req(0, name, 1);

    req.id = *id;
    return ask(&c->member[node], &req);
}

unsigned cluster_answers(struct cluster *c, size_t node, uint64_t ticket,
                         struct msg_count_rep *rep)
{
    const struct asked *asked = &c->member[node].asked[ticket];

    *rep = asked->rep;
    return asked->answers;
}

void cluster_fill(struct cluster *c, size_t node, const char *name, bool spread,
                  unsigned blocks)
{
    struct member *m = &c->member[node];
    enum err err;

    for (unsigned b = 0; b < blocks; b++) {
        for (unsigned i = 0; i < CLUSTER_BLOCK; i++) {
            struct msg_count_req req = history_req(++c->requests, name, 1);

            req.heard = node_position(m->node);
            req.tag_len = TAG_MAX_BYTES;
            memset(req.tag, 't', req.tag_len);
            if (spread)
                req.name_len = (uint8_t)snprintf(req.name, sizeof req.name, "%s-%055u",
                                                 name, b * CLUSTER_BLOCK + i);
            err = node_count(m->node, &req, 0, now(c));
            assert(err == ERR_OK);
        }
        settle(m);
        assert(m->rep.status == STATUS_PROVISIONAL || m->rep.status == STATUS_FINAL);
        cluster_run(c, 40);
    }
}

int64_t cluster_total(struct cluster *c, size_t node, const char *name)
{
    struct msg_get_req req = {.name_len = (uint8_t)strlen(name)};
    struct msg_get_rep rep;

    memcpy(req.name, name, req.name_len);
    node_get(c->member[node].node, &req, &rep);
    return rep.total;
}

void cluster_crash(struct cluster *c, size_t node)
{
    stop(&c->member[node]);
    memory_disk_crash(c->member[node].disk);
}

void cluster_wipe(struct cluster *c, size_t node)
{
    assert(c->member[node].node == NULL);
    memory_disk_free(c->member[node].disk);
    c->member[node].disk = memory_disk_new();
}

void cluster_backup(struct cluster *c, size_t node)
{
    c->member[node].backup = memory_disk_copy(c->member[node].disk);
}

void cluster_restore(struct cluster *c, size_t node)
{
    struct member *m = &c->member[node];

    assert(m->node == NULL && m->backup != NULL);
    memory_disk_free(m->disk);
    m->disk = m->backup;
    m->backup = NULL;
}

size_t cluster_clone(struct cluster *c, size_t node, bool resumed)
{
    const struct member *of = &c->member[node];
    size_t clone = c->count++;

    assert(clone < CLUSTER_MAX);
    c->member[clone] = (struct member){.cluster = c,
                                       .index = clone,
                                       .self = node,
                                       .reached_at = clone,
                                       .stream = of->stream,
                                       .disk = memory_disk_copy(of->disk)};
    if (resumed)
        start(&c->member[clone]);
    else
        cluster_start(c, clone);
    return clone;
}

void cluster_move(struct cluster *c, size_t node, size_t to)
{
    c->member[node].reached_at = to;
}

struct disk *cluster_disk(struct cluster *c, size_t node)
{
    return c->member[node].disk;
}

struct node *cluster_node(struct cluster *c, size_t node)
{
    return c->member[node].node;
}

struct peers *cluster_peers(struct cluster *c, size_t node)
{
    return c->member[node].peers;
}

static struct writer state_of(struct node *node)
{
    size_t max = core_encoded_max(node_core(node));
    struct writer w = writer_of(malloc(max), max);

    assert(w.start != NULL);
    core_encode_state(node_core(node), &w);
    assert(!w.full);
    return w;
}

bool cluster_equal(struct cluster *c)
{
    struct writer first = {0};
    bool equal = true;

    for (size_t i = 0; i < c->count; i++) {
        struct writer w;

        if (c->member[i].node == NULL)
            continue;
        w = state_of(c->member[i].node);
        if (first.start == NULL) {
            first = w;
            continue;
        }
        equal = equal && w.len == first.len && memcmp(w.start, first.start, w.len) == 0;
        free(w.start);
    }
    free(first.start);
    return equal;
}

void cluster_listen(struct cluster *c,
                    void (*tap)(void *arg, const uint8_t *bytes, size_t len), void *arg)
{
    c->tap = tap;
    c->tap_arg = arg;
}

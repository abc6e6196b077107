/* tests/simulation/net.c: the network between the members of a cluster. A way may be cut, slow, or lose, repeat and delay
 * what goes over it; and there is who throws in what he likes. */
#include <stdlib.h>
#include <string.h>

#include "tests/simulation/cluster.h"
#include "tests/simulation/trace.h"

enum {
    DELAY_MIN_MS = 1,
    QUEUE_BYTES = 512 * 1024, /* what waits for a slow way, at most; the rest is lost */
    RECORDED_MAX = 64 * 1024, /* bytes of a message that may be thrown in again */
    INBOX_BYTES = 4 * 1024 * 1024, /* what a process that stands still finds later */
    GARBAGE_MAX = 300,
};

static struct packet *packet_new(unsigned from, unsigned to, const uint8_t *bytes,
                                 size_t len)
{
    struct packet *p = malloc(sizeof *p + len);

    if (p == NULL)
        abort();
    p->from = from;
    p->to = to;
    p->len = len;
    memcpy(p->bytes, bytes, len);
    return p;
}

void net_begin(struct cluster *c)
{
    c->clone_share = 50;
}

void net_end(struct cluster *c)
{
    spy_end(c);
    for (size_t i = 0; i < c->recorded_count; i++)
        free(c->recorded[i]);
    for (size_t i = 0; i < NODES_MAX; i++)
        for (size_t j = 0; j < NODES_MAX; j++)
            held_clear(&c->way[i][j].ever);
}

/* Some of what was ever sent is kept, old and new. */
static void record(struct cluster *c, const struct packet *p)
{
    const size_t max = sizeof c->recorded / sizeof *c->recorded;
    size_t at = c->recorded_count;

    if (!cluster_has(c, CLUSTER_inject) || p->len > RECORDED_MAX)
        return;
    if (at == max) {
        if (!rng_chance(&c->net, 1, 8))
            return;
        at = (size_t)rng_below(&c->net, max);
        free(c->recorded[at]);
    } else {
        c->recorded_count++;
    }
    c->recorded[at] = packet_new(p->from, p->to, p->bytes, p->len);
}

static void drop(struct cluster *c, struct packet *p)
{
    c->figures->dropped++;
    free(p);
}

/* When it arrives. Without `reorder` a way keeps the order. */
static uint64_t arrives_ms(struct cluster *c, struct way *way, size_t len)
{
    uint64_t leaves_ms = way->free_ms > c->now_ms ? way->free_ms : c->now_ms, at_ms;

    if (way->thin > 0)
        leaves_ms += len / way->thin;
    way->free_ms = leaves_ms;
    at_ms = leaves_ms + DELAY_MIN_MS +
            rng_below(&c->net, rng_chance(&c->net, 1, 16) ? c->plan.delay_ms : 3);
    if (!cluster_has(c, CLUSTER_reorder) && at_ms < way->last_ms)
        at_ms = way->last_ms;
    way->last_ms = at_ms;
    return at_ms;
}

static void launch(struct cluster *c, struct packet *p)
{
    struct way *way = &c->way[p->from][p->to];

    if (way->thin > 0 && way->free_ms > c->now_ms &&
        (way->free_ms - c->now_ms) * way->thin > QUEUE_BYTES) {
        drop(c, p);
        return;
    }
    cluster_event(c, arrives_ms(c, way, p->len) - c->now_ms, EVENT_PACKET, 0, p);
}

void net_send(struct member *m, unsigned to, const uint8_t *bytes, size_t len)
{
    struct cluster *c = m->cluster;
    struct packet *p;

    c->figures->messages++;
    c->figures->bytes += len;
    trace(TRACE_SENT, to, len);
    p = packet_new(m->node, to, bytes, len);
    record(c, p);
    if (cluster_has(c, CLUSTER_inject) && rng_chance(&c->net, 1, 100))
        spy_spoil(c, p);
    if (c->way[m->node][to].cut > 0 ||
        (cluster_has(c, CLUSTER_loss) && rng_chance(&c->net, c->plan.loss, 1000))) {
        c->figures->faults[CLUSTER_loss] += c->way[m->node][to].cut == 0;
        drop(c, p);
        return;
    }
    if (cluster_has(c, CLUSTER_twice) && rng_chance(&c->net, c->plan.twice, 1000)) {
        c->figures->faults[CLUSTER_twice]++;
        launch(c, packet_new(p->from, p->to, p->bytes, p->len));
    }
    launch(c, p);
}

/* Who has the address now. */
static struct member *whose(struct cluster *c, unsigned node)
{
    struct member *clone = c->member[MEMBERS_MAX - 1];

    if (clone != NULL && clone->node == node && rng_chance(&c->net, c->clone_share, 100))
        return clone;
    return c->member[node];
}

void net_arrive(struct cluster *c, struct packet *p)
{
    struct member *m = whose(c, p->to);

    if (c->way[p->from][p->to].cut > 0 || !member_runs(m) ||
        m->packet_bytes + p->len > INBOX_BYTES) {
        drop(c, p);
        return;
    }
    member_packet(m, p);
}

/* ---- what nobody sent ---- */

static struct packet *garbage(struct cluster *c)
{
    unsigned from = (unsigned)rng_below(&c->net, c->plan.nodes),
             to = (unsigned)rng_below(&c->net, c->plan.nodes);
    uint8_t bytes[GARBAGE_MAX];
    size_t len = (size_t)rng_below(&c->net, sizeof bytes);

    rng_bytes(&c->net, bytes, len);
    if (len >= LINK_HINT_BYTES)
        memcpy(bytes, c->keys[from].public.byte, LINK_HINT_BYTES);
    return packet_new(from, to, bytes, len);
}

/* Something of before: once more, back to its sender, to somebody else, or damaged. */
static struct packet *of_before(struct cluster *c)
{
    const struct packet *old = c->recorded[rng_below(&c->net, c->recorded_count)];
    struct packet *p = packet_new(old->from, old->to, old->bytes, old->len);

    switch (rng_below(&c->net, 5)) {
    case 0:
        p->to = p->from;
        break;
    case 1:
        p->to = (unsigned)rng_below(&c->net, c->plan.nodes);
        break;
    case 2:
        p->bytes[rng_below(&c->net, p->len)] ^= (uint8_t)(1U << rng_below(&c->net, 8));
        break;
    case 3:
        p->len = (size_t)rng_below(&c->net, p->len);
        break;
    default:
        break;
    }
    return p;
}

void net_inject(struct cluster *c)
{
    struct packet *p =
        c->recorded_count == 0 || rng_chance(&c->net, 1, 8) ? garbage(c) : of_before(c);

    c->figures->faults[CLUSTER_inject]++;
    trace(TRACE_INJECTED, p->from, p->to);
    cluster_event(c, rng_below(&c->net, 10), EVENT_PACKET, 0, p);
}

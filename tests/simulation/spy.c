/* tests/simulation/spy.c: knows all keys of a cluster and reads every message: what is said of blocks must be true of the
 * sender's disk when it is said. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/byte.h"
#include "replica/pace.h"
#include "tests/simulation/broken.h"
#include "tests/simulation/cluster.h"

/* Bytes of blocks that a peer is sent while nothing is heard from it, at most: of both feeds, and what a last message
 * goes beyond. */
enum { WINDOW_MAX = 2 * (PACE_MAX + LINK_PAYLOAD_MAX) };

/* Open a message between two nodes. False: it was not sealed for that way. */
static bool look(struct cluster *c, unsigned from, unsigned to, const uint8_t *bytes,
                 size_t len, uint8_t *type, struct reader *payload)
{
    static uint8_t copy[LINK_MESSAGE_MAX];
    uint8_t *box = copy + LINK_HINT_BYTES + LINK_NONCE_BYTES;
    size_t plain_len = len - LINK_HINT_BYTES - LINK_NONCE_BYTES - BOX_OVERHEAD;

    if (len < LINK_OVERHEAD || len > LINK_MESSAGE_MAX)
        return false;
    memcpy(copy, bytes, len);
    if (!c->crypto->box_open(box, plain_len, copy + LINK_HINT_BYTES,
                             c->box_keys[from][to]))
        return false;
    *payload = reader_of(box + BOX_OVERHEAD, plain_len);
    read_bytes(payload, PUBLIC_KEY_BYTES);
    *type = read_u8(payload);
    read_bytes(payload, ID_BYTES);
    return true;
}

static struct archived *read_item(struct cluster *c, struct reader *r, uint64_t *number)
{
    struct position position;
    struct hash hash;

    read_copy(r, position.stream.byte, ID_BYTES);
    position.number = read_u64(r);
    read_copy(r, hash.byte, HASH_BYTES);
    *number = position.number;
    return archive_block(c->archive, &position, &hash);
}

static void sent_frozen(struct member *m, struct reader *r)
{
    while (r->left > 0) {
        const struct archive_stream *s;
        struct id id;

        read_copy(r, id.byte, sizeof id.byte);
        s = archive_find(m->cluster->archive, &id);
        if (s == NULL || !s->forked)
            broken("HAVE says that a stream forks, and it does not");
    }
}

static void sent_have(struct member *m, struct reader *r)
{
    uint64_t number;
    uint32_t count;

    read_bytes(r, HASH_BYTES);
    if (read_bool(r) == core_is_open(node_core(m->process)))
        broken("HAVE says wrongly whether its sender has caught up");
    count = read_u32(r);
    for (uint32_t i = 0; i < count; i++) {
        const struct archived *block = read_item(m->cluster, r, &number);

        if (number == 0)
            continue;
        if (block == NULL)
            broken("HAVE names block %" PRIu64 " of a stream, and nobody wrote it",
                   number);
        if (!held_has(m->cluster->archive, &m->ledger.held, block))
            broken("HAVE names block %" PRIu64
                   " of a stream, which is not durable at its sender",
                   number);
    }
    if (r->bad || r->left % ID_BYTES != 0)
        broken("a HAVE is sent that cannot be read");
    sent_frozen(m, r);
}

/* What was sent before is sent anew: a peer's window begins with it. */
static void note_block(struct way *way, struct archived *block)
{
    if (held_number(&way->ever, block->stream) >= block->number) {
        way->window = 0;
        return;
    }
    held_set(&way->ever, block);
    way->window += block->len;
    if (way->window > WINDOW_MAX)
        broken("%" PRIu64 " bytes of blocks are sent to a peer that says nothing",
               way->window);
}

static void sent_blocks(struct member *m, struct way *way, struct reader *r)
{
    while (r->left > 0) {
        uint32_t len = read_u32(r);
        const uint8_t *bytes = read_bytes(r, len);
        struct archived *block =
            bytes != NULL ? archive_known(m->cluster->archive, bytes, len) : NULL;

        if (block == NULL)
            broken("a block is sent that nobody wrote");
        if (!held_has(m->cluster->archive, &m->ledger.held, block))
            broken("block %" PRIu64
                   " of a stream is sent, and is not durable at its sender",
                   block->number);
        note_block(way, block);
    }
}

/* What is handed over as proof: blocks of a stream that forks, as their maker wrote them. */
static void sent_fork(const struct member *m, struct reader *r)
{
    while (r->left > 0) {
        uint32_t len = read_u32(r);
        const uint8_t *bytes = read_bytes(r, len);
        const struct archived *block =
            bytes != NULL ? archive_known(m->cluster->archive, bytes, len) : NULL;

        if (block == NULL || block->nodes == 0 ||
            !archive_stream(m->cluster->archive, block->stream)->forked)
            broken("what is handed over as proof of a fork proves none");
    }
}

void spy_sent(struct member *m, unsigned to, const uint8_t *bytes, size_t len)
{
    struct way *way = &m->cluster->way[m->node][to];
    struct reader payload;
    uint8_t type;

    if (!look(m->cluster, m->node, to, bytes, len, &type, &payload))
        broken("a message is sent that its receiver cannot open");
    way->sent++;
    switch (type) {
    case LINK_HAVE:
        sent_have(m, &payload);
        break;
    case LINK_BLOCKS:
    case LINK_BLOCKS_AWAITED:
        way->blocks++;
        sent_blocks(m, way, &payload);
        break;
    case LINK_CHECKPOINT:
        way->checkpoints++;
        break;
    case LINK_FORK:
        sent_fork(m, &payload);
        break;
    case LINK_RIVALS:
        way->sent--; /* For a minute behind the clone's end. */
        break;
    default:
        break;
    }
}

/* What a peer says that it holds: spy_taken() makes it its word, if it is heard. */
static void arrives_have(struct member *m, struct reader *r)
{
    uint64_t number;
    uint32_t count;

    held_clear(&m->saying);
    read_bytes(r, HASH_BYTES);
    m->saying_joins = read_bool(r);
    count = read_u32(r);
    for (uint32_t i = 0; i < count; i++) {
        struct archived *block = read_item(m->cluster, r, &number);

        if (block != NULL)
            held_set(&m->saying, block);
    }
}

uint8_t spy_arrives(struct member *m, const struct packet *p)
{
    struct reader payload;
    uint8_t type;

    m->cluster->way[m->node][p->from].window = 0;
    if (!look(m->cluster, p->from, m->node, p->bytes, p->len, &type, &payload))
        return 0;
    if (type == LINK_HAVE)
        arrives_have(m, &payload);
    return type;
}

void spy_end(struct cluster *c)
{
    idmap_clear(&c->taken);
}

/* But for greetings, which prove nothing by themselves, no message is taken twice, by whatever process of a machine. */
void spy_taken(struct member *m, unsigned from, const uint8_t nonce[LINK_NONCE_BYTES],
               uint8_t type)
{
    struct id id;

    if (type == 0 || type == LINK_HELLO)
        return;
    if (type == LINK_HAVE) {
        m->heard[from] = true;
        held_copy(&m->said[from], &m->saying);
        m->joins[from] = m->saying_joins;
    }
    memcpy(id.byte, nonce, sizeof id.byte);
    for (unsigned i = 0; i < LINK_NONCE_BYTES - ID_BYTES; i++)
        id.byte[i] ^= nonce[ID_BYTES + i];
    id.byte[ID_BYTES - 1] ^= (uint8_t)m->serial;
    if (idmap_get(&m->cluster->taken, &id) >= 0)
        broken("a message of node %u is taken a second time", from);
    idmap_set(&m->cluster->taken, &id, 1);
}

/* How far from the message's end a byte of some block stands, near that block's end: in its signature, or before. */
static size_t spoiled(struct cluster *c, struct reader payload)
{
    struct reader r = payload;
    uint64_t blocks = 0;
    uint32_t len = 0;

    for (; r.left > 0; blocks++)
        read_bytes(&r, read_u32(&r));
    for (uint64_t i = rng_below(&c->net, blocks) + 1; i > 0; i--) {
        len = read_u32(&payload);
        read_bytes(&payload, len);
    }
    return payload.left + 1 + rng_below(&c->net, len < 100 ? len : 100);
}

void spy_spoil(struct cluster *c, struct packet *p)
{
    uint8_t *box = p->bytes + LINK_HINT_BYTES + LINK_NONCE_BYTES;
    size_t plain_len = p->len - LINK_HINT_BYTES - LINK_NONCE_BYTES - BOX_OVERHEAD;
    const uint8_t *key = c->box_keys[p->from][p->to];
    struct reader payload;
    uint8_t type;

    if (!look(c, p->from, p->to, p->bytes, p->len, &type, &payload) ||
        (type != LINK_BLOCKS && type != LINK_BLOCKS_AWAITED) ||
        !c->crypto->box_open(box, plain_len, p->bytes + LINK_HINT_BYTES, key))
        return;
    p->bytes[p->len - spoiled(c, payload)] ^= (uint8_t)(1U << rng_below(&c->net, 8));
    c->crypto->box_seal(box, plain_len, p->bytes + LINK_HINT_BYTES, key);
    c->figures->faults[CLUSTER_inject]++;
}

#include "replica/intake.h"

#include "common/log.h"
#include "replica/peer.h"
#include "replica/streams.h"

/* Why a block was refused, and what is to be done. */
static const char *refusal(const struct peers *p, const uint8_t *bytes, size_t len)
{
    struct core_figures figures;
    struct block block;

    core_figures(node_core(p->config.node), &figures);
    if (block_decode(bytes, len, p->config.crypto, &block) != ERR_OK)
        return "sent what is no block";
    if (block.number == 1 && !id_equal(&block.origin.cluster, &figures.cluster))
        return "sent a block of another cluster: both have counted apart. Only a node that holds nothing can "
               "join: end the one whose counts may go, move the folder log out of its state directory, and "
               "start it again";
    if (block.number == 1 && core_open_streams(node_core(p->config.node),
                                               &block.origin.key) >= CORE_OPEN_STREAMS)
        return "passed on yet another stream of a node that has begun thousands of which none goes on from the "
               "other: is that node started from the same copy of its disk each time?";
    return "sent a block that is wrongly signed, or by a node that is no peer here: is every node of the "
           "cluster in this tally.conf?";
}

/* Both blocks stay as proof. */
static void log_fork(struct peers *p, const struct peer *peer, const uint8_t *bytes,
                     size_t len, uint64_t now_ms)
{
    const struct stream *stream;
    struct position at = {0};
    char hex[ID_HEX + 1];
    uint64_t more;

    if (!log_limit_pass(&p->forks, now_ms, &more))
        return;
    block_peek(bytes, len, &at);
    id_format(&at.stream, hex);
    stream = streams_find(core_streams(node_core(p->config.node)), &at.stream);
    log_alarm(
        "stream %s of node %.*s forks: block %llu that %s has sent, and another one, are both signed, and contradict "
        "each other: a snapshot of its memory was resumed, or its key was stolen. No more is taken of that "
        "stream; what is counted in it may not reach every node (and %llu more since the last such line)",
        hex, stream->name_len, stream->name, (unsigned long long)at.number,
        peer->config.name, (unsigned long long)more);
}

/* What becomes of a block, for figures and people. */
static void received(struct peers *p, struct peer *peer, const struct core_record *block,
                     enum core_taken taken, uint64_t now_ms)
{
    peer->figures.received += taken == CORE_TAKEN;
    if (taken == CORE_FORKED)
        log_fork(p, peer, block->bytes, block->len, now_ms);
    if (taken == CORE_REFUSED) {
        peer->figures.refused++;
        peer_log_dropped(peer, refusal(p, block->bytes, block->len), now_ms);
    } else if (taken == CORE_NEWER) {
        peer->figures.newer++;
        peer_log_dropped(
            peer, "sent a block of a newer version: run that version here, too", now_ms);
    }
}

/* False: malformed. */
static bool read_blocks(struct reader r, struct core_record list[PEERS_BLOCKS_MAX],
                        unsigned *count)
{
    for (*count = 0; r.left > 0 && *count < PEERS_BLOCKS_MAX; ++*count) {
        uint32_t len = read_u32(&r);

        list[*count] = (struct core_record){read_bytes(&r, len), len};
    }
    return reader_done(&r);
}

static void note_arrival(struct peers *p, struct peer *peer,
                         const struct link_message *message)
{
    bool awaited = message->type == LINK_BLOCKS_AWAITED;

    peer->wants_have = true;
    peer->unsaid_bytes += message->len;
    if (awaited || peer->unsaid_bytes >= PEERS_HAVE_BYTES)
        peer->wants_have_now = true;
    if (awaited)
        node_hurry(p->config.node);
}

enum err intake_blocks(struct peers *p, struct peer *peer,
                       const struct link_message *message, uint64_t now_ms)
{
    struct core_record list[PEERS_BLOCKS_MAX];
    unsigned count, covered = 0; /* from the one at hand on */
    enum core_taken taken;
    enum err err = ERR_OK;

    note_arrival(p, peer, message);
    if (!read_blocks(reader_of(message->payload, message->len), list, &count)) {
        peer_log_dropped(peer, "sent a malformed message", now_ms);
        return ERR_OK;
    }
    for (unsigned i = 0; i < count && err == ERR_OK; i++) {
        if (covered == 0)
            covered = core_covered(node_core(p->config.node), &list[i], count - i);
        err =
            node_receive(p->config.node, list[i].bytes, list[i].len, covered > 0, &taken);
        received(p, peer, &list[i], taken, now_ms);
        covered -= covered > 0;
    }
    return err;
}

/* Somebody else has the whole proof of a fork, or knows one half of it. */
enum err intake_proof(struct peers *p, struct peer *peer,
                      const struct link_message *message, uint64_t now_ms)
{
    struct reader r = reader_of(message->payload, message->len);
    uint32_t len = read_u32(&r);
    const uint8_t *first = read_bytes(&r, len);
    enum core_taken taken;
    enum err err =
        node_take_proof(p->config.node, message->payload, message->len, now_ms, &taken);

    peer->wants_have_now = true;
    if (taken == CORE_FORKED)
        log_fork(p, peer, first, len, now_ms);
    if (taken == CORE_REFUSED) {
        peer->figures.refused++;
        peer_log_dropped(peer, "sent as proof that a stream forks what proves nothing",
                         now_ms);
    }
    return err;
}

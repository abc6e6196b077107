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

enum err intake_blocks(struct peers *p, struct peer *peer,
                       const struct link_message *message, uint64_t now_ms)
{
    struct reader r = reader_of(message->payload, message->len);
    enum core_taken taken;
    enum err err = ERR_OK;

    peer->wants_have = true;
    for (unsigned count = 0; r.left > 0 && err == ERR_OK; count++) {
        uint32_t len = read_u32(&r);
        const uint8_t *bytes = read_bytes(&r, len);

        if (r.bad || count == PEERS_BLOCKS_MAX) {
            peer_log_dropped(peer, "sent a malformed message", now_ms);
            return ERR_OK;
        }
        err = node_receive(p->config.node, bytes, len, &taken);
        peer->figures.received += taken == CORE_TAKEN;
        if (taken == CORE_FORKED)
            log_fork(p, peer, bytes, len, now_ms);
        if (taken == CORE_REFUSED) {
            peer->figures.refused++;
            peer_log_dropped(peer, refusal(p, bytes, len), now_ms);
        } else if (taken == CORE_NEWER) {
            peer->figures.newer++;
            peer_log_dropped(
                peer, "sent a block of a newer version: run that version here, too",
                now_ms);
        }
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

    peer->wants_have = true;
    if (taken == CORE_FORKED)
        log_fork(p, peer, first, len, now_ms);
    if (taken == CORE_REFUSED) {
        peer->figures.refused++;
        peer_log_dropped(peer, "sent as proof that a stream forks what proves nothing",
                         now_ms);
    }
    return err;
}

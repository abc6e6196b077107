#include "replica/holdings.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "replica/copies.h"
#include "replica/mutant.h"
#include "replica/peer.h"
#include "replica/streams.h"

/* What a HAVE comes to. */
struct compared {
    uint64_t now_ms;
    bool less;   /* the peer holds less of something than before */
    bool other;  /* or something else than is held here */
    bool untold; /* it does not know that a stream forks */
};

/* The peer's last block is another than ours of that number: the stream forks. Ours is the proof that it lacks. */
static void contradict(const struct peer *peer, struct progress *progress,
                       struct compared *compared)
{
    if (peer_takes_no_more(peer, progress) ||
        (progress->proof_ms != 0 &&
         compared->now_ms - progress->proof_ms < PEERS_PROOF_MS))
        return;
    progress->proof_ms = compared->now_ms;
    progress->have--;
    compared->less = true;
}

/* A peer says that a stream forks, or that there is more of it than is held here, or (other) that it ends otherwise. If it is
 * this run's, somebody else writes it, too. Few are begun on such a word alone; but all that is said of one that is given up
 * counts. */
static void heard_lost(struct peers *p, const struct id *stream, bool other,
                       uint64_t now_ms)
{
    struct core *core = node_core(p->config.node);

    if (!core_stream_lost(core) && p->renewed_ms != 0 &&
        now_ms - p->renewed_ms < PEERS_RENEW_MS)
        return;
    core_heard_lost(core, stream, other);
    if (core_stream_lost(core))
        p->renewed_ms = now_ms;
}

static enum err have_stream(struct peers *p, struct peer *peer,
                            const struct stream_end *end, struct compared *compared)
{
    struct core *core = node_core(p->config.node);
    struct progress *progress = peer_progress(peer, &end->position.stream);
    uint64_t held = core_held(core, &end->position.stream);
    bool contradicts = core_heard(core, end);
    bool frozen = core_is_frozen(core, &end->position.stream);

    if (progress == NULL)
        return ERR_MEMORY;
    compared->less = compared->less || end->position.number < progress->have;
    if (end->position.number > progress->have)
        progress->gone = false;
    if (progress->passed != 0 && end->position.number + 1 >= progress->passed) {
        progress->passed = 0;
        compared->less = true; /* What was passed over can be sent now. */
    }
    compared->untold = compared->untold || (frozen && end->position.number > 0 &&
                                            !peer_takes_no_more(peer, progress));
    compared->other = compared->other || end->position.number != held || contradicts;
    if (end->position.number > progress->have && progress->losses > 0) {
        progress->losses = 0;
        peer->own.retry_ms = peer->relay.retry_ms = 0; /* It goes on. */
    }
    if (end->position.number > progress->have || !MUTANT(grow_only))
        progress->have = end->position.number;
    progress->round = peer->round;
    if (end->position.number > held || contradicts)
        heard_lost(p, &end->position.stream, contradicts, compared->now_ms);
    if (contradicts)
        contradict(peer, progress, compared);
    else
        progress->proof_ms = 0;
    if (progress->sent < progress->have)
        progress->sent = progress->have;
    return ERR_OK;
}

static bool next_item(struct reader *r, struct stream_end *end)
{
    if (r->left == 0)
        return false;
    read_copy(r, end->position.stream.byte, ID_BYTES);
    end->position.number = read_u64(r);
    read_copy(r, end->hash.byte, HASH_BYTES);
    return true;
}

/* The streams before this one that the HAVE leaves out: each ends where the one after it says. */
static enum err have_before(struct peers *p, struct peer *peer, const struct id *stream,
                            struct compared *compared)
{
    const struct core *core = node_core(p->config.node);
    const struct stream_end *before = core_before(core, stream);
    const struct progress *progress;
    enum err err = ERR_OK;

    while (before != NULL && err == ERR_OK) {
        progress = peer_progress(peer, &before->position.stream);
        if (progress == NULL)
            return ERR_MEMORY;
        if (progress->round == peer->round)
            break; /* It was named. */
        err = have_stream(p, peer, before, compared);
        before = core_before(core, &before->position.stream);
    }
    return err;
}

/* First all that is named, for it goes before what is concluded. */
static enum err have_streams(struct peers *p, struct peer *peer, struct reader items,
                             struct compared *compared)
{
    struct reader again = items;
    struct stream_end end;
    enum err err = ERR_OK;

    while (err == ERR_OK && next_item(&items, &end))
        err = have_stream(p, peer, &end, compared);
    while (err == ERR_OK && next_item(&again, &end))
        if (end.position.number > 0)
            err = have_before(p, peer, &end.position.stream, compared);
    return err;
}

/* The streams that the peer has frozen; if this run's is one of them, it counts on in another. */
static enum err have_frozen(struct peers *p, struct peer *peer, struct reader ids,
                            uint64_t now_ms)
{
    struct progress *progress;
    struct id stream;

    while (ids.left > 0) {
        read_copy(&ids, stream.byte, sizeof stream.byte);
        progress = peer_progress(peer, &stream);
        if (progress == NULL)
            return ERR_MEMORY;
        progress->frozen_round = peer->round;
        heard_lost(p, &stream, false, now_ms);
    }
    return ERR_OK;
}

/* Both hold the same blocks: then they have the same state, or one of them is wrong. */
static void compare(struct peers *p, struct peer *peer, const uint8_t *theirs)
{
    struct hash ours;
    bool differs;

    core_digest(node_core(p->config.node), &ours);
    differs = memcmp(ours.byte, theirs, HASH_BYTES) != 0;
    if (differs && !peer->figures.differs)
        log_alarm(
            "peer %s holds the same blocks, and has another state: compare `tallyctl counters` of both, "
            "and run `tallyctl verify` on both",
            peer->config.name);
    peer->figures.differs = differs;
}

/* The stream's next block for the peer: is it in the log? Only a feed that reads up to where the log ended when
 * it was found lacking can tell. */
static bool is_gone(const struct peers *p, const struct peer *peer,
                    const struct stream *stream, struct progress *progress)
{
    const struct core *core = node_core(p->config.node);
    const struct feed *feed = core_bears_own_key(core, &stream->end.position.stream)
                                  ? &peer->own
                                  : &peer->relay;
    uint64_t read = feed_read(feed);

    if (progress->proof_ms != 0 || peer_takes_no_more(peer, progress) ||
        progress->losses > 1)
        return false;
    if (progress->gone)
        return true;
    if (progress->sent >= stream->end.position.number) {
        progress->missing_lsn = 0;
    } else if (progress->missing_lsn == 0 || progress->missed != progress->sent) {
        progress->missing_lsn = wal_mark(node_wal(p->config.node)).lsn;
        progress->missed = progress->sent;
    } else {
        progress->gone = read >= progress->missing_lsn;
    }
    return progress->gone;
}

static enum err look_for_gone(struct peers *p, struct peer *peer)
{
    const struct streams *streams = core_streams(node_core(p->config.node));
    bool too_far = false;

    for (const struct stream *s = streams->table; s != NULL; s = s->hh.next) {
        struct progress *progress = peer_progress(peer, &s->end.position.stream);

        if (progress == NULL)
            return ERR_MEMORY;
        too_far = is_gone(p, peer, s, progress) || too_far;
    }
    if (too_far && !peer->figures.too_far)
        log_info("peer %s lacks blocks that the log no longer has: offering a checkpoint",
                 peer->config.name);
    peer->figures.too_far = too_far;
    return ERR_OK;
}

/* What the HAVE does not name any more. */
static void forget_unnamed(const struct peers *p, struct peer *peer,
                           struct compared *compared)
{
    struct progress *progress, *next;

    HASH_ITER(hh, peer->progress, progress, next)
    {
        if (progress->round == peer->round || MUTANT(grow_only))
            continue;
        if (progress->have > 0) {
            progress->have = 0; /* It was wiped: it must be believed. */
            compared->less = true;
        }
        if (core_held(node_core(p->config.node), &progress->stream) == 0) {
            HASH_DEL(peer->progress, progress);
            free(progress);
        }
    }
}

/* It may have been restarted because of them. */
static void forget_losses(struct peer *peer)
{
    for (struct progress *progress = peer->progress; progress != NULL;
         progress = progress->hh.next)
        progress->losses = 0;
}

enum err holdings_heard(struct peers *p, struct peer *peer,
                        const struct link_message *message, uint64_t now_ms)
{
    struct reader r = reader_of(message->payload, message->len);
    const uint8_t *digest = read_bytes(&r, HASH_BYTES);
    bool joins = read_bool(&r);
    uint32_t count = read_u32(&r);
    size_t items = (size_t)count * CORE_HAVE_ITEM;
    struct compared compared = {.now_ms = now_ms};
    bool first, cut;
    enum err err;

    if (r.bad || r.left < items || (r.left - items) % ID_BYTES != 0)
        return ERR_MALFORMED;
    /* HAVE comes once a second: what was sent while none came is lost, too. */
    cut = now_ms - peer->vector_ms >= 3 * PEERS_IDLE_MS;
    peer->round++;
    peer->vector_ms = now_ms;
    peer->joins = joins;
    err = have_frozen(p, peer, reader_of(r.at + items, r.left - items), now_ms);
    if (err == ERR_OK)
        err = have_streams(p, peer, reader_of(r.at, items), &compared);
    if (err != ERR_OK)
        return err;
    forget_unnamed(p, peer, &compared);
    if (!compared.other && peer_lacks(p, peer) == 0)
        compare(p, peer, digest);
    if (compared.less || !peer->heard_have || cut)
        feeds_rewind(peer, compared.less);
    peer->untold = compared.untold;
    first = !peer->heard_have;
    peer->heard_have = true;
    if (first)
        forget_losses(peer);
    copies_tell(p, first || compared.less || compared.other);
    feeds_acknowledge(peer, now_ms);
    return look_for_gone(p, peer);
}

static bool knows(const void *arg, const struct id *stream)
{
    const struct peer *peer = arg;

    return peer->heard_have && peer_has(peer, stream) > 0;
}

void holdings_tell(struct peers *p, size_t i, uint64_t now_ms)
{
    const size_t head = HASH_BYTES + 1 + sizeof(uint32_t);
    uint8_t *items = p->payload + head;
    size_t room = sizeof p->payload - head, len, frozen;
    struct writer w = writer_of(p->payload, head);
    struct core *core = node_core(p->config.node);
    struct hash digest;
    bool more, more_frozen;
    uint64_t unsaid;

    len = core_have(core, knows, p->peer[i], items, room, &more);
    frozen = core_frozen(core, items + len, room - len, &more_frozen);
    if ((more || more_frozen) && log_limit_pass(&p->too_many, now_ms, &unsaid))
        log_alarm("there are more streams than one message can name");
    core_digest(core, &digest);
    write_bytes(&w, digest.byte, HASH_BYTES);
    write_u8(&w, !core_is_open(core));
    write_u32(&w, (uint32_t)(len / CORE_HAVE_ITEM));
    peer_send(p, i, LINK_HAVE, head + len + frozen);
    p->peer[i]->have_ms = now_ms;
    p->peer[i]->wants_have = p->peer[i]->wants_have_now = false;
    p->peer[i]->unsaid_bytes = 0;
}

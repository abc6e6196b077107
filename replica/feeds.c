#include "replica/feeds.h"

#include <assert.h>
#include <stdlib.h>

#include "common/log.h"
#include "replica/mutant.h"
#include "replica/peer.h"

enum {
    BATCH_BYTES =
        256 * 1024 + BLOCK_MAX, /* of one BLOCKS, at most; one block always fits */
    UNACKED_MAX = 4096,         /* blocks sent and not acknowledged, per feed */
    LOSSES_TOLD = 4,
    READ_TURN = 512 * 1024, /* bytes of log that a feed reads in one turn */
    WINDOW_MAX = UNACKED_MAX / PEERS_BLOCKS_MAX, /* messages that they are in */
};
static_assert((int)BATCH_BYTES <= (int)LINK_PAYLOAD_MAX, "a batch fits a message");

struct unacked {
    struct position block;
    uint64_t lsn;
    uint32_t bytes;
    bool last; /* of its message */
};

bool feed_init(struct feed *feed, bool relay)
{
    *feed = (struct feed){.relay = relay,
                          .unacked = malloc(UNACKED_MAX * sizeof *feed->unacked),
                          .window = WINDOW_MAX,
                          .held_lsn = UINT64_MAX,
                          .retry_ms = UINT64_MAX};
    return feed->unacked != NULL;
}

void feed_clear(struct feed *feed)
{
    wal_reader_free(feed->reader);
    free(feed->unacked);
}

/* Read again from where the peer lacks something. */
static void feed_rewind(struct feed *feed, uint64_t low)
{
    wal_reader_free(feed->reader);
    feed->reader = NULL;
    feed->low = low;
    feed->first = feed->count = feed->messages = 0;
    feed->held_lsn = feed->retry_ms = UINT64_MAX;
    pace_forget(&feed->pace);
}

void feeds_rewind(struct peer *peer, bool from_start)
{
    struct progress *progress, *next;

    HASH_ITER(hh, peer->progress, progress, next)
    {
        progress->sent = progress->have;
        progress->passed = from_start ? 0 : progress->passed;
    }
    feed_rewind(&peer->own, from_start ? 0 : peer->own.low);
    feed_rewind(&peer->relay, from_start ? 0 : peer->relay.low);
}

uint64_t feed_read(const struct feed *feed)
{
    return feed->reader != NULL ? wal_reader_lsn(feed->reader) : feed->low;
}

/* What was acknowledged need not be read again. */
static void feed_lower(struct feed *feed)
{
    feed->low = sooner(feed->held_lsn, feed->count > 0 ? feed->unacked[feed->first].lsn
                                                       : feed_read(feed));
}

static void feed_acknowledge(struct peer *peer, struct feed *feed, uint64_t now_ms)
{
    bool any = false;

    while (feed->count > 0) {
        const struct unacked *oldest = &feed->unacked[feed->first];
        const struct progress *progress = peer_progress(peer, &oldest->block.stream);

        if (progress == NULL || (progress->have < oldest->block.number &&
                                 !peer_takes_no_more(peer, progress)))
            break;
        pace_acked(&feed->pace, oldest->bytes, now_ms);
        feed->first = (feed->first + 1) % UNACKED_MAX;
        feed->count--;
        feed->messages -= oldest->last;
        any = true;
    }
    if (any && feed->window < WINDOW_MAX)
        feed->window *= 2;
    feed_lower(feed);
}

void feeds_acknowledge(struct peer *peer, uint64_t now_ms)
{
    feed_acknowledge(peer, &peer->own, now_ms);
    feed_acknowledge(peer, &peer->relay, now_ms);
}

/* One BLOCKS in the making. */
struct batch {
    struct writer w;
    unsigned blocks;
};

static void batch_add(struct batch *batch, const uint8_t *block, size_t len)
{
    write_u32(&batch->w, (uint32_t)len);
    write_bytes(&batch->w, block, len);
    batch->blocks++;
}

static bool batch_has_room(const struct batch *batch)
{
    return batch->w.len + sizeof(uint32_t) + BLOCK_MAX <= batch->w.size &&
           batch->blocks < PEERS_BLOCKS_MAX;
}

/* A stream of which the peer takes nothing (it does not trust its node, or is of another cluster, or of an older version)
 * neither takes the room of others under way, nor is it sent for ever at full speed. */
static bool is_held_back(struct feed *feed, const struct progress *progress,
                         uint64_t number, uint64_t lsn, uint64_t now_ms)
{
    if (progress->losses == 0 ||
        (now_ms >= progress->retry_ms &&
         (progress->losses == 1 || number == progress->have + 1)))
        return false;
    feed->held_lsn = sooner(feed->held_lsn, lsn);
    if (now_ms < progress->retry_ms)
        feed->retry_ms = sooner(feed->retry_ms, progress->retry_ms);
    return true;
}

/* Put the frame into the batch if the peer lacks it. Where it lacks what was before it, that is no more in the
 * log, and this block is of no use to it now. */
static void feed_frame(struct peer *peer, struct feed *feed, bool own,
                       const struct wal_frame *frame, struct batch *batch,
                       uint64_t now_ms)
{
    struct position position;
    struct progress *progress;

    if (own == feed->relay || !block_peek(frame->bytes, frame->len, &position))
        return;
    progress = peer_progress(peer, &position.stream);
    if (progress != NULL && position.number > progress->sent + 1 && progress->passed == 0)
        progress->passed = position.number;
    if (progress == NULL || position.number != progress->sent + 1 ||
        peer_takes_no_more(peer, progress) ||
        is_held_back(feed, progress, position.number, frame->lsn, now_ms))
        return;
    batch_add(batch, frame->bytes, frame->len);
    progress->sent = position.number;
    feed->unacked[(feed->first + feed->count++) % UNACKED_MAX] =
        (struct unacked){position, frame->lsn, (uint32_t)frame->len, false};
    pace_sent(&feed->pace, frame->len, now_ms);
    peer->figures.sent++;
}

/* What feed_frame() put into the batch is on its way. */
static void feed_sent(struct feed *feed, uint64_t now_ms)
{
    struct unacked *newest;

    feed->sent_ms = now_ms;
    if (feed->count == 0)
        return;
    newest = &feed->unacked[(feed->first + feed->count - 1) % UNACKED_MAX];
    feed->messages += !newest->last;
    newest->last = true;
}

static bool is_own(const struct peers *p, const struct wal_frame *frame)
{
    struct position position;

    return block_peek(frame->bytes, frame->len, &position) &&
           core_bears_own_key(node_core(p->config.node), &position.stream);
}

/* Only for the blocks that callers here wait for. */
static uint8_t feed_type(const struct peers *p, const struct feed *feed)
{
    return !feed->relay && core_copies(node_core(p->config.node)) > 1
               ? LINK_BLOCKS_AWAITED
               : LINK_BLOCKS;
}

/* One BLOCKS, if there is anything to send before `end` and room for it under way. Whether there may be more. */
static bool feed_send(struct peers *p, size_t i, struct feed *feed, uint64_t end,
                      uint64_t now_ms)
{
    struct peer *peer = p->peer[i];
    struct batch batch = {.w = writer_of(p->payload, BATCH_BYTES)};
    struct wal_frame frame;
    enum err err = ERR_OK;

    if (feed->reader == NULL)
        feed->reader = wal_reader_new(node_wal(p->config.node), feed->low);
    if (feed->reader == NULL || feed->messages >= feed->window)
        return false;
    while (batch_has_room(&batch) && pace_room(&feed->pace) &&
           feed->count < UNACKED_MAX && feed_read(feed) < end) {
        err = wal_reader_next(feed->reader, &frame);
        if (err != ERR_OK)
            break;
        feed_frame(peer, feed, is_own(p, &frame), &frame, &batch, now_ms);
    }
    /* A reader begins no earlier than the log, and what it has not read stays: `low` is never behind it, and peers_turn()
     * keeps all from there on. */
    assert(err != ERR_NOT_FOUND);
    feed_lower(feed);
    if (batch.blocks > 0) {
        peer_send(p, i, feed_type(p, feed), batch.w.len);
        feed_sent(feed, now_ms);
    }
    return batch.blocks > 0 && err == ERR_OK;
}

/* Twice as long with each loss. */
static uint64_t retry_after(unsigned losses)
{
    uint64_t after_ms = PEERS_RETRY_MS;

    while (--losses > 1 && after_ms < PEERS_RETRY_MAX_MS)
        after_ms *= 2;
    return after_ms;
}

/* heard: the peer has said since what it holds. Otherwise it may be the way to it that is cut. */
static void stream_lost(struct peer *peer, struct progress *progress, bool heard,
                        uint64_t now_ms)
{
    progress->lost_ms = progress->retry_ms = now_ms;
    if (progress->losses == 0 || heard)
        progress->losses++;
    if (progress->losses > 1)
        progress->retry_ms += retry_after(progress->losses);
    if (progress->losses == LOSSES_TOLD && heard)
        log_warn("peer %s: does not take what it lacks; its log says why",
                 peer->config.name);
}

/* What is under way was not acknowledged in time. */
static void feed_lost(struct peer *peer, struct feed *feed, uint64_t now_ms)
{
    bool heard = peer->vector_ms > feed->pace.progress_ms;

    for (size_t i = 0; i < feed->count; i++) {
        const struct position *block =
            &feed->unacked[(feed->first + i) % UNACKED_MAX].block;
        struct progress *progress = peer_progress(peer, &block->stream);

        if (progress == NULL || progress->have >= block->number ||
            (progress->losses > 0 && progress->lost_ms == now_ms))
            continue;
        stream_lost(peer, progress, heard, now_ms);
        if (progress->losses == 1)
            feed->window = 1;
    }
    feeds_rewind(peer, false);
}

/* Up to where this feed reads in one turn: what is behind that waits for the callers that do. */
static uint64_t feed_end(const struct peers *p, const struct feed *feed)
{
    uint64_t end = feed->relay ? p->relay_lsn : wal_mark(node_wal(p->config.node)).lsn;

    return sooner(end, feed_read(feed) + READ_TURN);
}

/* What is durable now may go out with what follows it: unless callers wait for copies, and nothing is under way. */
static bool feed_gathers(const struct peers *p, const struct feed *feed, uint64_t now_ms)
{
    if (feed->relay || (feed->count == 0 && core_copies(node_core(p->config.node)) > 1))
        return false;
    return now_ms - feed->sent_ms < PEERS_GATHER_MS;
}

/* Returns when it is to be looked at again, if nothing comes. */
static uint64_t feed_turn(struct peers *p, size_t i, struct feed *feed, uint64_t now_ms)
{
    const uint64_t durable = wal_mark(node_wal(p->config.node)).lsn;
    uint64_t end;

    if (feed->relay && MUTANT(never_relay))
        return UINT64_MAX;
    if (pace_lost(&feed->pace, now_ms) && !MUTANT(never_resend)) {
        pace_slow(&feed->pace);
        feed_lost(p->peer[i], feed, now_ms);
    }
    if (feed->held_lsn != UINT64_MAX && now_ms >= feed->retry_ms)
        feeds_rewind(p->peer[i], false);
    if (feed_gathers(p, feed, now_ms) && durable - feed_read(feed) < PEERS_GATHER_BYTES)
        return durable > feed_read(feed) ? feed->sent_ms + PEERS_GATHER_MS : UINT64_MAX;
    end = feed_end(p, feed);
    while (feed_send(p, i, feed, end, now_ms))
        ;
    return feed_read(feed) >= end && end < feed_end(p, feed) ? now_ms : UINT64_MAX;
}

uint64_t feeds_turn(struct peers *p, size_t i, uint64_t now_ms)
{
    uint64_t own_ms = feed_turn(p, i, &p->peer[i]->own, now_ms);

    return sooner(own_ms, feed_turn(p, i, &p->peer[i]->relay, now_ms));
}

/* The log's end as it was some time ago. */
void feeds_clock(struct peers *p, uint64_t now_ms)
{
    if (now_ms - p->relay_ms < PEERS_RELAY_MS)
        return;
    p->relay_ms = now_ms;
    p->relay_lsn = p->relay_next_lsn;
    p->relay_next_lsn = wal_mark(node_wal(p->config.node)).lsn;
}

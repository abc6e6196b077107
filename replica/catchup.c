#include "replica/catchup.h"

#include "common/log.h"
#include "replica/peer.h"
#include "replica/streams.h"

enum {
    /* A piece that does not come is asked for again: after four times what the last one took, and twice as long each
     * time, within these bounds. */
    PIECE_MIN = 128 * 1024,
    FETCH_AGAIN_MS = 250,
    FETCH_FIRST_MS = 1000, /* as if one had taken a quarter of that */
    FETCH_AGAIN_MAX_MS = 10000,
    FETCH_STALLED_MS = 15000, /* then another peer's offer is taken */
};

/* ---- fetching ---- */

void catchup_end(struct peers *p)
{
    fetch_clear(&p->catchup.fetch);
    p->catchup.from = NULL;
}

/* Is a checkpoint that this peer offers to be fetched? Not where blocks lead there, too. */
static bool takes_offer(struct peers *p, struct peer *peer,
                        const struct transfer_piece *piece, uint64_t now_ms)
{
    const struct core *core = node_core(p->config.node);
    uint64_t lack = peer_is_ahead(p, peer);

    if (lack == 0 || !peer->heard_have || !core_trusts(core, &piece->seal.maker))
        return false;
    p->catchup.offered_ms = now_ms;
    if (now_ms < p->catchup.after_ms)
        return false;
    if (p->catchup.from != NULL && p->catchup.from != peer &&
        now_ms - p->catchup.progress_ms < FETCH_STALLED_MS)
        return false;
    if (peer->lacked == 0 || lack < peer->lacked) {
        peer->lacked = lack;
        peer->lacked_ms = now_ms;
    }
    return core_streams(core)->count == 0 ||
           now_ms - peer->lacked_ms >= PEERS_PATIENCE_MS;
}

/* All of it is here. Whatever becomes of it, the next one is not fetched at once. */
static void fetched(struct peers *p, uint64_t now_ms)
{
    struct fetch *f = &p->catchup.fetch;

    if (node_offer(p->config.node, f->bytes, f->len, &f->seal) == ERR_OK)
        f->bytes = NULL; /* It is the node's. */
    p->catchup.after_ms = now_ms + PEERS_FETCH_MS;
    catchup_end(p);
}

static void fetch_progress(struct peers *p, uint64_t now_ms)
{
    uint64_t again_ms = 4 * (now_ms - p->catchup.progress_ms);

    if (again_ms < FETCH_AGAIN_MS)
        again_ms = FETCH_AGAIN_MS;
    p->catchup.again_ms = again_ms < FETCH_AGAIN_MAX_MS ? again_ms : FETCH_AGAIN_MAX_MS;
    p->catchup.progress_ms = now_ms;
    p->catchup.gap = UINT64_MAX;
    p->catchup.want_ms = 0;
}

enum err catchup_piece(struct peers *p, struct peer *peer,
                       const struct link_message *message, uint64_t now_ms)
{
    struct transfer_piece piece;
    enum err err = transfer_read_piece(message->payload, message->len, &piece);

    if (err == ERR_TOO_LONG)
        peer_log_dropped(
            peer, "offers a checkpoint that is larger than this version takes", now_ms);
    if (err != ERR_OK)
        return err == ERR_TOO_LONG ? ERR_OK : err;
    if (p->catchup.from != peer || !fetch_is_of(&p->catchup.fetch, &piece)) {
        if (!takes_offer(p, peer, &piece, now_ms))
            return ERR_OK;
        log_info("fetching a checkpoint of %llu KiB from %s",
                 (unsigned long long)piece.total / 1024, peer->config.name);
        fetch_begin(&p->catchup.fetch, &piece);
        p->catchup.from = peer;
        p->catchup.progress_ms = now_ms - FETCH_FIRST_MS / 4;
        fetch_progress(p, now_ms);
        peer->lacked = 0;
    }
    err = fetch_take(&p->catchup.fetch, &piece);
    if (err == ERR_OK)
        fetch_progress(p, now_ms);
    else if (piece.offset > p->catchup.fetch.len &&
             (p->catchup.gap != p->catchup.fetch.len || piece.len == 0)) {
        /* Once, for those on their way behind it say the same; and whenever the sender says how far it is and
         * sends nothing. */
        p->catchup.gap = p->catchup.fetch.len;
        p->catchup.want_ms = 0;
    }
    if (fetch_done(&p->catchup.fetch))
        fetched(p, now_ms);
    return err == ERR_AGAIN ? ERR_OK : err;
}

uint64_t catchup_fetch(struct peers *p, size_t i, uint64_t now_ms)
{
    struct transfer_want want = {.seal = p->catchup.fetch.seal,
                                 .offset = p->catchup.fetch.len};
    struct writer w = writer_of(p->payload, TRANSFER_WANT);

    if (p->catchup.from != p->peer[i])
        return UINT64_MAX;
    if (now_ms - p->catchup.progress_ms >= PEERS_FETCH_MS) {
        catchup_end(p);
        return UINT64_MAX;
    }
    if (p->catchup.want_ms != 0 && now_ms - p->catchup.want_ms < p->catchup.again_ms)
        return p->catchup.want_ms + p->catchup.again_ms;
    if (p->catchup.want_ms != 0 && p->catchup.again_ms < FETCH_AGAIN_MAX_MS)
        p->catchup.again_ms *= 2;
    p->catchup.want_ms = now_ms;
    transfer_put_want(&w, &want);
    peer_send(p, i, LINK_WANT, w.len);
    return now_ms + p->catchup.again_ms;
}

/* Is this node about to go over to a checkpoint? What it holds above that is read from its own log, all of which
 * stays meanwhile. */
bool catchup_under_way(const struct peers *p, uint64_t now_ms)
{
    return p->catchup.from != NULL || (p->catchup.offered_ms != 0 &&
                                       now_ms - p->catchup.offered_ms < PEERS_SILENT_MS);
}

/* ---- sending ---- */

enum err catchup_wanted(struct peer *peer, const struct link_message *message,
                        uint64_t now_ms)
{
    struct sending *s = &peer->sending;
    struct transfer_want want;
    enum err err = transfer_read_want(message->payload, message->len, &want);

    if (err != ERR_OK)
        return err;
    if (!s->open || !transfer_same(&want.seal, &s->source.seal)) {
        s->offer_ms = 0; /* There is another one now. */
        s->wanted = false;
        return ERR_OK;
    }
    if (want.offset > s->source.bytes)
        return ERR_MALFORMED;
    if (s->wanted && want.offset > s->has && want.offset <= s->sent) {
        pace_acked(&s->pace, want.offset - s->has, now_ms);
    } else {
        /* Asked twice for the same: what was sent from there on is lost. */
        pace_slow(&s->pace);
        pace_forget(&s->pace);
        s->sent = want.offset;
    }
    s->has = want.offset;
    s->wanted = true;
    s->wanted_ms = now_ms;
    return ERR_OK;
}

/* Not while it is being sent: it stays as it is until the peer has it, or has not asked for long. */
static bool sending_open(struct peers *p, struct peer *peer, uint64_t now_ms)
{
    struct sending *s = &peer->sending;

    if (s->open && s->wanted && now_ms - s->wanted_ms < PEERS_FETCH_MS)
        return true;
    if (s->open && s->source.number == node_checkpoint(p->config.node))
        return true;
    checkpoint_source_close(&s->source);
    *s = (struct sending){0};
    pace_begin(&s->pace);
    s->open = node_source(p->config.node, &s->source) == ERR_OK;
    return s->open;
}

/* One piece from `sent` on; with no bytes an offer. ERR_IO, ERR_CORRUPT: the file cannot be read. */
static enum err send_piece(struct peers *p, size_t i, size_t len)
{
    struct sending *s = &p->peer[i]->sending;
    const struct transfer_piece piece = {
        .seal = s->source.seal, .total = s->source.bytes, .offset = s->sent};
    struct writer w = writer_of(p->payload, TRANSFER_HEAD);
    enum err err =
        checkpoint_source_read(&s->source, s->sent, p->payload + TRANSFER_HEAD, len);

    if (err != ERR_OK)
        return err;
    transfer_put_piece(&w, &piece);
    peer_send(p, i, LINK_CHECKPOINT, TRANSFER_HEAD + len);
    s->sent += len;
    return ERR_OK;
}

/* Two pieces fill the window, so that one is under way while the other is asked for. */
static size_t piece_len(const struct sending *s)
{
    uint64_t left = s->source.bytes - s->sent, len = s->pace.window / 2;

    if (len < PIECE_MIN)
        len = PIECE_MIN;
    if (len > TRANSFER_PIECE)
        len = TRANSFER_PIECE;
    return (size_t)(len < left ? len : left);
}

/* The newest may be older than what the peer holds of some streams, and of no use to it; one that is made now holds
 * all that this node does. */
static void renew_checkpoint(struct peers *p, uint64_t now_ms)
{
    if (p->catchup.remade_ms != 0 && now_ms - p->catchup.remade_ms < PEERS_FETCH_MS)
        return;
    p->catchup.remade_ms = now_ms;
    node_want_checkpoint(p->config.node);
}

void catchup_send(struct peers *p, size_t i, uint64_t now_ms)
{
    struct peer *peer = p->peer[i];
    struct sending *s = &peer->sending;
    enum err err = ERR_OK;

    if (!peer->figures.too_far) {
        checkpoint_source_close(&s->source);
        *s = (struct sending){0};
        return;
    }
    if (!s->wanted)
        renew_checkpoint(p, now_ms);
    if (!sending_open(p, peer, now_ms))
        return;
    while (err == ERR_OK && s->wanted && s->sent < s->source.bytes &&
           pace_room(&s->pace)) {
        size_t len = piece_len(s);

        err = send_piece(p, i, len);
        pace_sent(&s->pace, len, now_ms);
    }
    if (err == ERR_OK && (s->offer_ms == 0 || now_ms - s->offer_ms >= PEERS_IDLE_MS) &&
        (!s->wanted || now_ms - s->wanted_ms >= PEERS_IDLE_MS)) {
        s->offer_ms = now_ms;
        err = send_piece(p, i, 0);
    }
    if (err != ERR_OK) {
        log_error("cannot read the checkpoint for %s: %s", peer->config.name,
                  err_name(err));
        checkpoint_source_close(&s->source);
        *s = (struct sending){.offer_ms = now_ms};
    }
}

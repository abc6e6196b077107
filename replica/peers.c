#include "replica/peers.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "replica/catchup.h"
#include "replica/copies.h"
#include "replica/feeds.h"
#include "replica/holdings.h"
#include "replica/intake.h"
#include "replica/join.h"
#include "replica/mutant.h"
#include "replica/peer.h"
#include "replica/rivals.h"
#include "replica/streams.h"

static_assert((int)FORK_PROOF_MAX <= (int)LINK_PAYLOAD_MAX, "a proof fits a message");

/* ---- the list ---- */

struct peers *peers_new(const struct peers_config *config)
{
    struct peers *p = calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    p->config = *config;
    return p;
}

static void peer_free(struct peer *peer)
{
    if (peer == NULL)
        return;
    if (peer->link != NULL)
        link_free(peer->link);
    feed_clear(&peer->own);
    feed_clear(&peer->relay);
    checkpoint_source_close(&peer->sending.source);
    peer_forget_progress(peer);
    free(peer);
}

void peers_free(struct peers *p)
{
    for (size_t i = 0; i < p->count; i++)
        peer_free(p->peer[i]);
    fetch_clear(&p->catchup.fetch);
    free(p);
}

static enum err peer_new(struct peers *p, const struct peer_config *config,
                         struct peer **made)
{
    struct peer *peer = calloc(1, sizeof *peer);
    struct id run, challenge;

    if (peer == NULL)
        return ERR_MEMORY;
    /* A link's own, since its numbers begin anew: a peer that was taken out and comes back is another conversation. */
    p->config.random(&run, sizeof run);
    p->config.random(&challenge, sizeof challenge);
    peer->config = *config;
    peer->link =
        link_new(p->config.crypto, &p->config.key, &config->key, &run, &challenge);
    if (!feed_init(&peer->own, false) || !feed_init(&peer->relay, true) ||
        peer->link == NULL) {
        peer_free(peer);
        return ERR_MALFORMED;
    }
    *made = peer;
    return ERR_OK;
}

static bool same_key(const struct public_key *a, const struct public_key *b)
{
    return memcmp(a->byte, b->byte, sizeof a->byte) == 0;
}

static enum err check_list(const struct peers *p, const struct peer_config *list,
                           size_t count, size_t *bad)
{
    if (count > PEERS_MAX)
        return ERR_RANGE;
    for (*bad = 0; *bad < count; ++*bad) {
        if (same_key(&list[*bad].key, &p->config.key.public))
            return ERR_EXISTS;
        for (size_t i = 0; i < *bad; i++)
            if (same_key(&list[i].key, &list[*bad].key))
                return ERR_EXISTS;
    }
    return ERR_OK;
}

/* Take the peer of this key out of the old list, or make it. */
static enum err peer_take(struct peers *p, const struct peer_config *config,
                          struct peer **taken)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->peer[i] != NULL && same_key(&p->peer[i]->config.key, &config->key)) {
            *taken = p->peer[i];
            (*taken)->config = *config;
            p->peer[i] = NULL;
            return ERR_OK;
        }
    }
    return peer_new(p, config, taken);
}

static int key_order(const void *a, const void *b)
{
    return memcmp(a, b, PUBLIC_KEY_BYTES);
}

/* All who name each other come to the same id, in whatever order they start. */
static void found(struct peers *p, const struct public_key *peers, size_t count)
{
    struct public_key keys[PEERS_MAX + 1];
    struct id cluster;

    memcpy(keys, peers, count * sizeof *keys);
    keys[count++] = p->config.key.public;
    qsort(keys, count, sizeof *keys, key_order);
    crypto_generichash(cluster.byte, sizeof cluster.byte, keys[0].byte,
                       count * sizeof *keys, NULL, 0);
    core_found(node_core(p->config.node), &cluster);
}

/* From here on numbers are PROVISIONAL, and the log says so: with the first block of another stream. */
static void new_stream(struct peers *p)
{
    struct id stream;

    p->config.random(&stream, sizeof stream);
    core_new_stream(node_core(p->config.node), &stream);
}

/* Blocks of these, and of former nodes, are taken. */
static enum err trust(struct peers *p, const struct public_key *peers, size_t count)
{
    struct public_key keys[2 * PEERS_MAX];

    memcpy(keys, peers, count * sizeof *keys);
    memcpy(keys + count, p->former, p->former_count * sizeof *keys);
    return core_trust(node_core(p->config.node), keys, count + p->former_count);
}

enum err peers_former(struct peers *p, const struct public_key *keys, size_t count)
{
    struct public_key peers[PEERS_MAX] = {{.byte = {0}}};

    if (count > PEERS_MAX)
        return ERR_RANGE;
    for (size_t i = 0; i < p->count; i++)
        peers[i] = p->peer[i]->config.key;
    memcpy(p->former, keys, count * sizeof *keys);
    p->former_count = count;
    return trust(p, peers, p->count);
}

enum err peers_set(struct peers *p, const struct peer_config *list, size_t count,
                   size_t *bad)
{
    struct peer *peer[PEERS_MAX] = {NULL};
    struct public_key keys[PEERS_MAX] = {{.byte = {0}}};
    enum err err = check_list(p, list, count, bad);

    if (err != ERR_OK)
        return err;
    for (*bad = 0; *bad < count && err == ERR_OK; ++*bad) {
        err = peer_take(p, &list[*bad], &peer[*bad]);
        keys[*bad] = list[*bad].key;
    }
    if (err == ERR_OK)
        err = trust(p, keys, count);
    if (err == ERR_OK && count > 0)
        found(p, keys, count);
    if (err == ERR_OK && core_stream_outdated(node_core(p->config.node)))
        new_stream(p);
    for (size_t i = 0; i < p->count; i++) {
        if (p->peer[i] != NULL && p->peer[i] == p->catchup.from)
            catchup_end(p);
        peer_free(p->peer[i]);
    }
    memcpy(p->peer, peer, sizeof peer);
    p->count = 0;
    while (p->count < PEERS_MAX && peer[p->count] != NULL)
        p->count++;
    if (err != ERR_OK)
        --*bad;
    copies_tell(p, true);
    return err;
}

/* ---- receiving ---- */

static struct peer *sender(struct peers *p, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < p->count; i++)
        if (link_is_for(p->peer[i]->link, bytes, len))
            return p->peer[i];
    return NULL;
}

static enum err act(struct peers *p, struct peer *peer,
                    const struct link_message *message, uint64_t now_ms)
{
    enum err err;

    switch (message->type) {
    case LINK_HAVE:
        err = holdings_heard(p, peer, message, now_ms);
        break;
    case LINK_BLOCKS:
    case LINK_BLOCKS_AWAITED:
        return intake_blocks(p, peer, message, now_ms);
    case LINK_CHECKPOINT:
        err = catchup_piece(p, peer, message, now_ms);
        break;
    case LINK_WANT:
        err = catchup_wanted(peer, message, now_ms);
        break;
    case LINK_FORK:
        return intake_proof(p, peer, message, now_ms);
    case LINK_RIVALS:
        p->copied_ms = now_ms;
        return ERR_OK;
    default:
        peer_log_dropped(peer, "sent a message of an unknown type", now_ms);
        return ERR_OK;
    }
    if (err == ERR_MALFORMED)
        peer_log_dropped(peer, "sent a malformed message", now_ms);
    return err == ERR_MALFORMED ? ERR_OK : err;
}

/* Who was away may have another link, or another process. */
static void paces_begin(struct peer *peer)
{
    pace_begin(&peer->own.pace);
    pace_begin(&peer->relay.pace);
    pace_begin(&peer->sending.pace);
    peer->sending.sent = peer->sending.has;
}

/* Something true was heard. Where the conversation begins with it, both say what they hold. */
static void connected(struct peers *p, struct peer *peer, bool was_up, uint64_t now_ms)
{
    bool same = peer->runs == link_runs(peer->link);

    peer->heard_ms = now_ms;
    if (!link_up(peer->link) || (was_up && same))
        return;
    peer->runs = link_runs(peer->link);
    paces_begin(peer);
    peer->here = true;
    peer->heard_have = false;
    peer->wants_have_now = true;
    copies_tell(p, true);
    log_info("peer %s: connected", peer->config.name);
}

enum err peers_receive(struct peers *p, uint8_t *bytes, size_t len, uint64_t now_ms,
                       enum peers_sender *sealed_by)
{
    struct peer *peer = sender(p, bytes, len);
    struct link_message message;
    struct id fresh;
    bool was_up;

    *sealed_by = peer != NULL ? PEERS_PEER : PEERS_STRANGER;
    if (peer == NULL)
        return ERR_OK; /* Whoever listens counts them. */
    was_up = link_up(peer->link);
    p->config.random(&fresh, sizeof fresh);
    switch (link_open(peer->link, bytes, len, &fresh, now_ms, &message)) {
    case LINK_TAKEN:
        connected(p, peer, was_up, now_ms);
        return act(p, peer, &message, now_ms);
    case LINK_GREETED:
        connected(p, peer, was_up, now_ms);
        return ERR_OK;
    case LINK_OLD:
        if (p->config.whence != NULL)
            p->config.whence(p->config.arg, peer->figures.rival_from);
        peer->figures.stale++;
        return ERR_OK;
    case LINK_STALE:
        peer->figures.stale++;
        return ERR_OK;
    case LINK_FORGED:
        *sealed_by = PEERS_FORGED;
        peer->figures.forged++;
        peer_log_dropped(
            peer, "a message under its name was not sealed by it for this node", now_ms);
        return ERR_OK;
    }
    return ERR_OK;
}

/* ---- sending ---- */

static void send_hello(struct peers *p, size_t i, uint64_t now_ms)
{
    size_t len = link_seal_hello(p->peer[i]->link, p->sealed);

    p->peer[i]->hello_ms = now_ms;
    p->config.send(p->config.arg, i, p->sealed, len);
}

/* What each of them has counted stands: it is in streams of its own. But the others send to one address. */
static void watch_rivals(struct peer *peer, uint64_t now_ms)
{
    bool rivals = link_rivals(peer->link, now_ms);
    const char *from = peer->figures.rival_from;

    if (rivals && !peer->figures.rivals)
        log_alarm(
            "peer %s: another process with its key is alive, too%s%s: a copied machine (or somebody plays back "
            "what it said earlier). No count is lost, but what the one counts that its address does not lead to "
            "comes in only when it does. Give the copy a key of its own: let the others reach it if it has "
            "counted, stop it, empty its state directory, and put what `tallyd -k` then prints into the others' "
            "tally.conf",
            peer->config.name, *from != '\0' ? ", at " : "", from);
    if (!rivals && peer->figures.rivals)
        log_info("peer %s: one process with its key for %d s: all is well again",
                 peer->config.name, RIVALS_SEEN_MS / 1000);
    peer->figures.rivals = rivals;
}

/* What peers say of this node's own key. */
static void watch_copied(struct peers *p, uint64_t now_ms)
{
    bool copied = p->copied_ms != 0 && now_ms - p->copied_ms < PEERS_SILENT_MS;

    if (copied && !p->copied)
        log_alarm(
            "another process with this node's key is alive, say peers: a copied machine? Their logs and their "
            "`tallyctl peers` say where, and what to do");
    if (!copied && p->copied)
        log_info(
            "no peer says any more that another process with this node's key is alive");
    p->copied = copied;
}

/* Is the peer to be told that this stream forks? It has blocks of it, and does not say that it knows. */
static bool is_untold(const struct peer *peer, const struct stream *stream,
                      const struct progress *progress, uint64_t now_ms)
{
    return stream->frozen && stream->proof.blocks > 0 &&
           (progress->have > 0 || progress->proof_ms != 0) &&
           !peer_takes_no_more(peer, progress) &&
           (progress->told_ms == 0 || now_ms - progress->told_ms >= PEERS_PROOF_MS);
}

/* One proof in a turn, for it may be large. */
static void tell_forks(struct peers *p, size_t i, uint64_t now_ms)
{
    const struct streams *streams = core_streams(node_core(p->config.node));
    struct peer *peer = p->peer[i];

    for (const struct stream *s = streams->table; s != NULL; s = s->hh.next) {
        struct progress *progress = peer_progress(peer, &s->end.position.stream);

        if (progress == NULL || !is_untold(peer, s, progress, now_ms))
            continue;
        progress->told_ms = now_ms;
        memcpy(p->payload, s->proof.bytes, s->proof.len);
        peer_send(p, i, LINK_FORK, s->proof.len);
        return;
    }
    peer->untold = false; /* Until the next HAVE. */
}

/* What waits for its sync is said behind it. */
static uint64_t have_due(const struct peers *p, const struct peer *peer)
{
    if (core_unwritten(node_core(p->config.node)))
        return UINT64_MAX;
    if (peer->wants_have_now)
        return 0;
    return peer->have_ms + (peer->wants_have ? PEERS_HAVE_MS : PEERS_IDLE_MS);
}

/* Returns when there will be something to do, if nothing comes. */
static uint64_t peer_turn(struct peers *p, size_t i, uint64_t now_ms)
{
    struct peer *peer = p->peer[i];
    uint64_t due_ms = UINT64_MAX;

    watch_rivals(peer, now_ms);
    if (peer->here && now_ms - peer->heard_ms >= PEERS_SILENT_MS) {
        log_warn("peer %s: nothing heard for %d s", peer->config.name,
                 PEERS_SILENT_MS / 1000);
        link_down(peer->link);
        peer->here = false;
        copies_tell(p, true);
    }
    if (link_wants_hello(peer->link) || !link_up(peer->link) || peer->hello_ms == 0) {
        if (peer->hello_ms == 0 || now_ms - peer->hello_ms >= PEERS_IDLE_MS ||
            (link_wants_hello(peer->link) && now_ms != peer->hello_ms))
            send_hello(p, i, now_ms);
    }
    if (!link_up(peer->link))
        return UINT64_MAX;
    due_ms = have_due(p, peer);
    if (now_ms >= due_ms) {
        holdings_tell(p, i, now_ms);
        due_ms = have_due(p, peer);
    }
    if (peer->figures.rivals && now_ms - peer->told_ms >= PEERS_IDLE_MS) {
        peer->told_ms = now_ms;
        peer_send(p, i, LINK_RIVALS, 0);
    }
    if (!peer->heard_have)
        return due_ms;
    if (peer->untold && !MUTANT(tell_none))
        tell_forks(p, i, now_ms);
    due_ms = sooner(due_ms, feeds_turn(p, i, now_ms));
    catchup_send(p, i, now_ms);
    return sooner(due_ms, catchup_fetch(p, i, now_ms));
}

/* Also where the link seems up: what broke the connection may have been the end of the peer's run. */
void peers_reached(struct peers *p, size_t peer)
{
    p->peer[peer]->hello_ms = 0;
}

void peers_turn(struct peers *p, uint64_t now_ms, uint64_t *next_ms)
{
    uint64_t keep = UINT64_MAX;

    *next_ms = p->count > 0 ? now_ms + PEERS_RELAY_MS : UINT64_MAX;
    feeds_clock(p, now_ms);
    watch_copied(p, now_ms);
    if (p->begun_ms == 0)
        p->begun_ms = now_ms;
    copies_log(p, now_ms);
    if (p->count > 0 && p->join_ms == 0)
        p->join_ms = now_ms + p->config.join_wait_ms;
    if (!core_is_open(node_core(p->config.node)))
        join_turn(p, now_ms);
    for (size_t i = 0; i < p->count; i++) {
        struct peer *peer = p->peer[i];

        *next_ms = sooner(*next_ms, peer_turn(p, i, now_ms));
        keep = peer->own.low < keep ? peer->own.low : keep;
        keep = peer->relay.low < keep ? peer->relay.low : keep;
        if (peer->sending.open && peer->sending.source.lsn < keep)
            keep = peer->sending.source.lsn;
    }
    node_keep(p->config.node, catchup_under_way(p, now_ms) ? 0 : keep);
}

/* ---- looking ---- */

bool peers_copied(const struct peers *p)
{
    return p->copied;
}

size_t peers_count(const struct peers *p)
{
    return p->count;
}

void peers_figures(const struct peers *p, size_t index, struct peer_figures *figures)
{
    const struct peer *peer = p->peer[index];

    *figures = peer->figures;
    memcpy(figures->name, peer->config.name, sizeof figures->name);
    figures->connected = link_up(peer->link);
    figures->heard_ms = peer->heard_ms;
    figures->known = peer->heard_have;
    figures->lacks = peer_lacks(p, peer);
    if (p->catchup.from == peer) {
        figures->fetched = p->catchup.fetch.len;
        figures->fetch_bytes = p->catchup.fetch.total;
    }
}

#include "replica/peers.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "replica/mutant.h"
#include "replica/pace.h"
#include "replica/rivals.h"
#include "replica/streams.h"

enum {
    BATCH_BYTES =
        256 * 1024 + BLOCK_MAX, /* of one BLOCKS, at most; one block always fits */
    UNACKED_MAX = 4096,         /* blocks sent and not acknowledged, per feed */
    LOSSES_TOLD = 4,
    READ_TURN = 512 * 1024, /* bytes of log that a feed reads in one turn */
    WINDOW_MAX = UNACKED_MAX / PEERS_BLOCKS_MAX, /* messages that they are in */
    /* A piece that does not come is asked for again: after four times what the last one took, and twice as long each
     * time, within these bounds. */
    PIECE_MIN = 128 * 1024,
    FETCH_AGAIN_MS = 250,
    FETCH_FIRST_MS = 1000, /* as if one had taken a quarter of that */
    FETCH_AGAIN_MAX_MS = 10000,
    FETCH_STALLED_MS = 15000, /* then another peer's offer is taken */
};
static_assert((int)BATCH_BYTES <= (int)LINK_PAYLOAD_MAX, "a batch fits a message");
static_assert((int)FORK_PROOF_MAX <= (int)LINK_PAYLOAD_MAX, "and so does a proof");

/* How far a peer is with one stream. */
struct progress {
    struct id stream;
    uint64_t have;         /* as its last HAVE says */
    uint64_t sent;         /* and not given up for lost; at least have */
    uint64_t round;        /* of the HAVE that named it */
    uint64_t frozen_round; /* of the HAVE that said that the peer takes no more of it */
    uint64_t
        proof_ms; /* when our block that contradicts its last was sent; 0: it does not */
    uint64_t
        told_ms; /* when it was last told that the stream forks, with the proof; 0: never */
    /* It lacked a block when the log ended at this LSN (0: it lacked none), of which `missed` was sent: a feed that has
     * read up to there without sending more has not found it. */
    uint64_t missing_lsn, missed;
    bool gone; /* so it was: that block is no more in the log */
    /* The first block that a feed has passed over, because the peer lacked what is before it; 0: none. Once others have
     * brought the peer up to there, it is read again. */
    uint64_t passed;
    /* How often blocks that were sent were not acknowledged, since the last that was; and what that comes to: nothing of
     * this stream is sent until then, and after more than one loss a single block. */
    unsigned losses;
    uint64_t lost_ms, retry_ms;
    UT_hash_handle hh;
};

struct unacked {
    struct position block;
    uint64_t lsn;
    uint32_t bytes;
    bool last; /* of its message */
};

/* A checkpoint for one peer. */
struct sending {
    bool open;
    struct checkpoint_source source;
    bool wanted;        /* the peer has asked for it */
    uint64_t wanted_ms; /* when last */
    struct pace pace;   /* of the bytes between `has` and `sent` */
    uint64_t has,
        sent; /* offsets: the peer has said that it has it up to there; was sent up to there */
    uint64_t offer_ms;
};

/* A way through the log for one peer: of the blocks that bear this node's key, or of the others. Which streams a node knows as
 * its own may change when it goes over to a checkpoint, and what the one feed has not sent by then the other has passed; a
 * stream's key never changes. */
struct feed {
    bool relay;
    struct wal_reader *reader; /* NULL: to be begun at `low` */
    uint64_t low;              /* LSN before which the peer lacks nothing of this feed */
    struct unacked *unacked;   /* [UNACKED_MAX], a ring */
    size_t first, count;
    /* Messages that these went out in, and how many may be under way: one after a loss, twice as many with each
     * acknowledgement. Where messages overtake each other, several at a time may never arrive in order. */
    size_t messages, window;
    struct pace pace; /* of their bytes */
    uint64_t sent_ms; /* when the last BLOCKS was sent */
    /* The first block that was held back, because its stream waits; and when one of those is to be looked at again.
     * UINT64_MAX: none. */
    uint64_t held_lsn, retry_ms;
};

struct peer {
    struct peer_config config;
    struct link *link;
    struct feed own, relay;
    struct progress *progress;
    struct sending sending;
    /* What it held and we lacked when it offered a checkpoint: the least so far, and since when. */
    uint64_t lacked, lacked_ms;
    uint64_t told_ms; /* when it was last told that it has a rival */
    uint64_t runs;    /* of its processes that have proven themselves (link.h) */
    uint64_t round;   /* of its HAVEs */
    bool heard_have;  /* in this conversation */
    bool joins;       /* and it has not caught up itself */
    bool
        here; /* a conversation began, and it has not been silent for long since: another may be about to begin */
    uint64_t heard_ms, hello_ms, have_ms;
    uint64_t vector_ms; /* its last HAVE came */
    bool
        untold; /* there is a stream frozen here that its last HAVE has blocks of and does not name as frozen */
    bool
        wants_have; /* something of it was stored, or looked at in vain: it is to hear where we stand */
    struct peer_figures figures;
    struct log_limit limit;
};

struct peers {
    struct peers_config config;
    struct peer *peer[PEERS_MAX];
    size_t count;
    struct public_key former[PEERS_MAX];
    size_t former_count;
    uint64_t
        join_ms; /* when waiting for a peer to catch up with is over; 0: no peer yet */
    /* The log's durable end of one and of two steps of PEERS_RELAY_MS ago: what is older is relayed. */
    uint64_t relay_lsn, relay_next_lsn, relay_ms;
    struct fetch fetch;
    struct peer *fetch_from; /* NULL: nothing is fetched */
    uint64_t fetch_ms;       /* when it last got on */
    uint64_t want_ms;        /* when it was last asked to go on; 0: to be asked now */
    uint64_t fetch_again_ms; /* so much later again */
    uint64_t fetch_gap;      /* asked at once because of a gap, when so much was here */
    uint64_t fetch_after_ms; /* not before */
    uint64_t offered_ms;     /* when one that is lacked was offered last; 0: never */
    uint64_t remade_ms;      /* when one was made for a peer that is too far; 0: never */
    uint64_t renewed_ms;     /* when a stream was last begun on a peer's word */
    uint64_t copied_ms; /* when a peer last said that this node has a rival; 0: never */
    bool copied;        /* and that is not long ago */
    struct log_limit forks, too_many; /* of the lines about them */
    uint64_t begun_ms;                /* the first turn */
    bool copies_lack;                 /* that was logged */
    uint8_t payload[LINK_PAYLOAD_MAX], sealed[LINK_MESSAGE_MAX];
};

/* ---- the list ---- */

struct peers *peers_new(const struct peers_config *config)
{
    struct peers *p = calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    p->config = *config;
    return p;
}

static void progress_clear(struct peer *peer)
{
    struct progress *progress, *next;

    HASH_ITER(hh, peer->progress, progress, next)
    {
        HASH_DEL(peer->progress, progress);
        free(progress);
    }
}

static void peer_free(struct peer *peer)
{
    if (peer == NULL)
        return;
    if (peer->link != NULL)
        link_free(peer->link);
    wal_reader_free(peer->own.reader);
    wal_reader_free(peer->relay.reader);
    free(peer->own.unacked);
    free(peer->relay.unacked);
    checkpoint_source_close(&peer->sending.source);
    progress_clear(peer);
    free(peer);
}

void peers_free(struct peers *p)
{
    for (size_t i = 0; i < p->count; i++)
        peer_free(p->peer[i]);
    fetch_clear(&p->fetch);
    free(p);
}

static void tell_copies(struct peers *p, bool less);

static void fetch_end(struct peers *p)
{
    fetch_clear(&p->fetch);
    p->fetch_from = NULL;
}

static void feed_init(struct feed *feed, bool relay)
{
    *feed = (struct feed){.relay = relay,
                          .unacked = malloc(UNACKED_MAX * sizeof *feed->unacked),
                          .window = WINDOW_MAX,
                          .held_lsn = UINT64_MAX,
                          .retry_ms = UINT64_MAX};
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
    feed_init(&peer->own, false);
    feed_init(&peer->relay, true);
    peer->link =
        link_new(p->config.crypto, &p->config.key, &config->key, &run, &challenge);
    if (peer->own.unacked == NULL || peer->relay.unacked == NULL || peer->link == NULL) {
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
        if (p->peer[i] != NULL && p->peer[i] == p->fetch_from)
            fetch_end(p);
        peer_free(p->peer[i]);
    }
    memcpy(p->peer, peer, sizeof peer);
    p->count = 0;
    while (p->count < PEERS_MAX && peer[p->count] != NULL)
        p->count++;
    if (err != ERR_OK)
        --*bad;
    tell_copies(p, true);
    return err;
}

/* ---- what a peer holds ---- */

/* It forks, says the peer: there is nothing more to send of it. */
static bool takes_no_more(const struct peer *peer, const struct progress *progress)
{
    return progress->frozen_round != 0 && progress->frozen_round == peer->round;
}

static uint64_t have_of(const void *arg, const struct id *stream)
{
    const struct peer *peer = arg;
    const struct progress *progress;

    HASH_FIND(hh, peer->progress, stream, sizeof *stream, progress);
    if (progress == NULL)
        return 0;
    return takes_no_more(peer, progress) ? UINT64_MAX : progress->have;
}

static struct progress *progress_of(struct peer *peer, const struct id *stream)
{
    struct progress *progress;

    HASH_FIND(hh, peer->progress, stream, sizeof *stream, progress);
    if (progress != NULL)
        return progress;
    progress = calloc(1, sizeof *progress);
    if (progress == NULL)
        return NULL;
    progress->stream = *stream;
    HASH_ADD(hh, peer->progress, stream, sizeof *stream, progress);
    if (progress->hh.tbl == NULL) {
        free(progress);
        return NULL;
    }
    return progress;
}

/* ---- copies ---- */

/* Its last HAVE is of its present run. */
static bool tells_what_it_holds(const struct peer *peer)
{
    return link_up(peer->link) && peer->heard_have;
}

/* Up to which block the peer holds the stream as it is here. Where it contradicts, or there is more of it, nobody can
 * say. */
static uint64_t copies_of(const struct peer *peer, const struct stream *stream)
{
    const struct id *id = &stream->end.position.stream;
    const struct progress *progress;

    HASH_FIND(hh, peer->progress, id, sizeof *id, progress);
    if (progress == NULL || progress->proof_ms != 0 || takes_no_more(peer, progress) ||
        progress->have > stream->end.position.number)
        return 0;
    return progress->have;
}

/* Up to which block a stream is held by so many nodes, this one and `copies` - 1 peers. */
static uint64_t held_by(const struct peers *p, const struct stream *stream,
                        unsigned copies)
{
    uint64_t most[PEERS_MAX]; /* what is held, most first */
    size_t count = 0;

    if (copies <= 1)
        return stream->end.position.number;
    for (size_t i = 0; i < p->count; i++) {
        uint64_t have;
        size_t at = count;

        if (!tells_what_it_holds(p->peer[i]))
            continue;
        have = copies_of(p->peer[i], stream);
        for (; at > 0 && most[at - 1] < have; at--)
            most[at] = most[at - 1];
        most[at] = have;
        count++;
    }
    return count >= copies - 1 ? most[copies - 2] : 0;
}

/* Tell the core which of this node's own blocks enough nodes hold. less: what was held may not be any more; else only
 * what was not is looked at, for of ended streams there may be many. */
static void tell_copies(struct peers *p, bool less)
{
    struct core *core = node_core(p->config.node);
    const struct streams *streams = core_streams(core);
    unsigned nodes = 1;

    for (size_t i = 0; i < p->count; i++)
        nodes += p->peer[i]->here;
    core_set_nodes(core, nodes);
    if (core_copies(core) <= 1)
        return;
    for (size_t i = 0; i < streams->own_count; i++) {
        const struct stream *own = streams->own[i];

        if (less || own->copied < own->end.position.number)
            core_copied(core, &own->end.position.stream,
                        held_by(p, own, core_copies(core)));
    }
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

/* What was sent and is not in its HAVE is sent once more. */
static void peer_rewind(struct peer *peer, bool from_start)
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

/* How far it has read. */
static uint64_t feed_read(const struct feed *feed)
{
    return feed->reader != NULL ? wal_reader_lsn(feed->reader) : feed->low;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
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
        const struct progress *progress = progress_of(peer, &oldest->block.stream);

        if (progress == NULL ||
            (progress->have < oldest->block.number && !takes_no_more(peer, progress)))
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
    if (takes_no_more(peer, progress) ||
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
    struct progress *progress = progress_of(peer, &end->position.stream);
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
                                            !takes_no_more(peer, progress));
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
        progress = progress_of(peer, &before->position.stream);
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
        progress = progress_of(peer, &stream);
        if (progress == NULL)
            return ERR_MEMORY;
        progress->frozen_round = peer->round;
        heard_lost(p, &stream, false, now_ms);
    }
    return ERR_OK;
}

/* What is held here and not by the peer, in blocks. */
static uint64_t peer_lacks(const struct peers *p, const struct peer *peer)
{
    return core_lacks(node_core(p->config.node), have_of, peer);
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
    const struct feed *feed =
        same_key(&stream->key, &p->config.key.public) ? &peer->own : &peer->relay;
    uint64_t read = feed_read(feed);

    if (progress->proof_ms != 0 || takes_no_more(peer, progress) || progress->losses > 1)
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
        struct progress *progress = progress_of(peer, &s->end.position.stream);

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

static enum err have(struct peers *p, struct peer *peer,
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
        peer_rewind(peer, compared.less);
    peer->untold = compared.untold;
    first = !peer->heard_have;
    peer->heard_have = true;
    if (first)
        forget_losses(peer);
    tell_copies(p, first || compared.less || compared.other);
    feed_acknowledge(peer, &peer->own, now_ms);
    feed_acknowledge(peer, &peer->relay, now_ms);
    return look_for_gone(p, peer);
}

/* ---- receiving ---- */

static void log_dropped(struct peer *peer, const char *what, uint64_t now_ms)
{
    uint64_t more;

    if (log_limit_pass(&peer->limit, now_ms, &more))
        log_warn("peer %s: %s (and %llu more since the last such line)",
                 peer->config.name, what, (unsigned long long)more);
}

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

static enum err blocks(struct peers *p, struct peer *peer,
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
            log_dropped(peer, "sent a malformed message", now_ms);
            return ERR_OK;
        }
        err = node_receive(p->config.node, bytes, len, &taken);
        peer->figures.received += taken == CORE_TAKEN;
        if (taken == CORE_FORKED)
            log_fork(p, peer, bytes, len, now_ms);
        if (taken == CORE_REFUSED) {
            peer->figures.refused++;
            log_dropped(peer, refusal(p, bytes, len), now_ms);
        } else if (taken == CORE_NEWER) {
            peer->figures.newer++;
            log_dropped(peer,
                        "sent a block of a newer version: run that version here, too",
                        now_ms);
        }
    }
    return err;
}

/* Somebody else has the whole proof of a fork, or knows one half of it. */
static enum err fork(struct peers *p, struct peer *peer,
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
        log_dropped(peer, "sent as proof that a stream forks what proves nothing",
                    now_ms);
    }
    return err;
}

/* How many of the blocks that it holds are not held here. */
static uint64_t lacked(const struct peers *p, const struct peer *peer)
{
    const struct core *core = node_core(p->config.node);
    uint64_t sum = 0;

    for (const struct progress *progress = peer->progress; progress != NULL;
         progress = progress->hh.next) {
        uint64_t held = core_held(core, &progress->stream);

        if (core_is_frozen(core, &progress->stream))
            continue;
        sum += progress->have > held ? progress->have - held : 0;
    }
    return sum;
}

/* Is a checkpoint that this peer offers to be fetched? Not where blocks lead there, too. */
static bool takes_offer(struct peers *p, struct peer *peer,
                        const struct transfer_piece *piece, uint64_t now_ms)
{
    const struct core *core = node_core(p->config.node);
    uint64_t lack = lacked(p, peer);

    if (lack == 0 || !peer->heard_have || !core_trusts(core, &piece->seal.maker))
        return false;
    p->offered_ms = now_ms;
    if (now_ms < p->fetch_after_ms)
        return false;
    if (p->fetch_from != NULL && p->fetch_from != peer &&
        now_ms - p->fetch_ms < FETCH_STALLED_MS)
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
    struct fetch *f = &p->fetch;

    if (node_offer(p->config.node, f->bytes, f->len, &f->seal) == ERR_OK)
        f->bytes = NULL; /* It is the node's. */
    p->fetch_after_ms = now_ms + PEERS_FETCH_MS;
    fetch_end(p);
}

static void fetch_progress(struct peers *p, uint64_t now_ms)
{
    uint64_t again_ms = 4 * (now_ms - p->fetch_ms);

    if (again_ms < FETCH_AGAIN_MS)
        again_ms = FETCH_AGAIN_MS;
    p->fetch_again_ms = again_ms < FETCH_AGAIN_MAX_MS ? again_ms : FETCH_AGAIN_MAX_MS;
    p->fetch_ms = now_ms;
    p->fetch_gap = UINT64_MAX;
    p->want_ms = 0;
}

static enum err checkpoint(struct peers *p, struct peer *peer,
                           const struct link_message *message, uint64_t now_ms)
{
    struct transfer_piece piece;
    enum err err = transfer_read_piece(message->payload, message->len, &piece);

    if (err == ERR_TOO_LONG)
        log_dropped(peer, "offers a checkpoint that is larger than this version takes",
                    now_ms);
    if (err != ERR_OK)
        return err == ERR_TOO_LONG ? ERR_OK : err;
    if (p->fetch_from != peer || !fetch_is_of(&p->fetch, &piece)) {
        if (!takes_offer(p, peer, &piece, now_ms))
            return ERR_OK;
        log_info("fetching a checkpoint of %llu KiB from %s",
                 (unsigned long long)piece.total / 1024, peer->config.name);
        fetch_begin(&p->fetch, &piece);
        p->fetch_from = peer;
        p->fetch_ms = now_ms - FETCH_FIRST_MS / 4;
        fetch_progress(p, now_ms);
        peer->lacked = 0;
    }
    err = fetch_take(&p->fetch, &piece);
    if (err == ERR_OK)
        fetch_progress(p, now_ms);
    else if (piece.offset > p->fetch.len &&
             (p->fetch_gap != p->fetch.len || piece.len == 0)) {
        /* Once, for those on their way behind it say the same; and whenever the sender says how far it is and
         * sends nothing. */
        p->fetch_gap = p->fetch.len;
        p->want_ms = 0;
    }
    if (fetch_done(&p->fetch))
        fetched(p, now_ms);
    return err == ERR_AGAIN ? ERR_OK : err;
}

static enum err want(struct peer *peer, const struct link_message *message,
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
        err = have(p, peer, message, now_ms);
        break;
    case LINK_BLOCKS:
        return blocks(p, peer, message, now_ms);
    case LINK_CHECKPOINT:
        err = checkpoint(p, peer, message, now_ms);
        break;
    case LINK_WANT:
        err = want(peer, message, now_ms);
        break;
    case LINK_FORK:
        return fork(p, peer, message, now_ms);
    case LINK_RIVALS:
        p->copied_ms = now_ms;
        return ERR_OK;
    default:
        log_dropped(peer, "sent a message of an unknown type", now_ms);
        return ERR_OK;
    }
    if (err == ERR_MALFORMED)
        log_dropped(peer, "sent a malformed message", now_ms);
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
    peer->wants_have = true;
    tell_copies(p, true);
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
        log_dropped(peer, "a message under its name was not sealed by it for this node",
                    now_ms);
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

static void send_payload(struct peers *p, size_t i, uint8_t type, size_t len)
{
    size_t sealed = link_seal(p->peer[i]->link, type, p->payload, len, p->sealed);

    p->config.send(p->config.arg, i, p->sealed, sealed);
}

static bool knows(const void *arg, const struct id *stream)
{
    const struct peer *peer = arg;

    return peer->heard_have && have_of(peer, stream) > 0;
}

static void send_have(struct peers *p, size_t i, uint64_t now_ms)
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
    send_payload(p, i, LINK_HAVE, head + len + frozen);
    p->peer[i]->have_ms = now_ms;
    p->peer[i]->wants_have = false;
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
    progress = progress_of(peer, &position.stream);
    if (progress != NULL && position.number > progress->sent + 1 && progress->passed == 0)
        progress->passed = position.number;
    if (progress == NULL || position.number != progress->sent + 1 ||
        takes_no_more(peer, progress) ||
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
        send_payload(p, i, LINK_BLOCKS, batch.w.len);
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
        struct progress *progress = progress_of(peer, &block->stream);

        if (progress == NULL || progress->have >= block->number ||
            (progress->losses > 0 && progress->lost_ms == now_ms))
            continue;
        stream_lost(peer, progress, heard, now_ms);
        if (progress->losses == 1)
            feed->window = 1;
    }
    peer_rewind(peer, false);
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
        peer_rewind(p->peer[i], false);
    if (feed_gathers(p, feed, now_ms) && durable - feed_read(feed) < PEERS_GATHER_BYTES)
        return durable > feed_read(feed) ? feed->sent_ms + PEERS_GATHER_MS : UINT64_MAX;
    end = feed_end(p, feed);
    while (feed_send(p, i, feed, end, now_ms))
        ;
    return feed_read(feed) >= end && end < feed_end(p, feed) ? now_ms : UINT64_MAX;
}

/* ---- checkpoints ---- */

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
    send_payload(p, i, LINK_CHECKPOINT, TRANSFER_HEAD + len);
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
    if (p->remade_ms != 0 && now_ms - p->remade_ms < PEERS_FETCH_MS)
        return;
    p->remade_ms = now_ms;
    node_want_checkpoint(p->config.node);
}

static void sending_turn(struct peers *p, size_t i, uint64_t now_ms)
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

/* Returns when it is due again. */
static uint64_t fetch_turn(struct peers *p, size_t i, uint64_t now_ms)
{
    struct transfer_want want = {.seal = p->fetch.seal, .offset = p->fetch.len};
    struct writer w = writer_of(p->payload, TRANSFER_WANT);

    if (p->fetch_from != p->peer[i])
        return UINT64_MAX;
    if (now_ms - p->fetch_ms >= PEERS_FETCH_MS) {
        fetch_end(p);
        return UINT64_MAX;
    }
    if (p->want_ms != 0 && now_ms - p->want_ms < p->fetch_again_ms)
        return p->want_ms + p->fetch_again_ms;
    if (p->want_ms != 0 && p->fetch_again_ms < FETCH_AGAIN_MAX_MS)
        p->fetch_again_ms *= 2;
    p->want_ms = now_ms;
    transfer_put_want(&w, &want);
    send_payload(p, i, LINK_WANT, w.len);
    return now_ms + p->fetch_again_ms;
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
           !takes_no_more(peer, progress) &&
           (progress->told_ms == 0 || now_ms - progress->told_ms >= PEERS_PROOF_MS);
}

/* One proof in a turn, for it may be large. */
static void tell_forks(struct peers *p, size_t i, uint64_t now_ms)
{
    const struct streams *streams = core_streams(node_core(p->config.node));
    struct peer *peer = p->peer[i];

    for (const struct stream *s = streams->table; s != NULL; s = s->hh.next) {
        struct progress *progress = progress_of(peer, &s->end.position.stream);

        if (progress == NULL || !is_untold(peer, s, progress, now_ms))
            continue;
        progress->told_ms = now_ms;
        memcpy(p->payload, s->proof.bytes, s->proof.len);
        send_payload(p, i, LINK_FORK, s->proof.len);
        return;
    }
    peer->untold = false; /* Until the next HAVE. */
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
        tell_copies(p, true);
    }
    if (link_wants_hello(peer->link) || !link_up(peer->link) || peer->hello_ms == 0) {
        if (peer->hello_ms == 0 || now_ms - peer->hello_ms >= PEERS_IDLE_MS ||
            (link_wants_hello(peer->link) && now_ms != peer->hello_ms))
            send_hello(p, i, now_ms);
    }
    if (!link_up(peer->link))
        return UINT64_MAX;
    if (peer->wants_have || now_ms - peer->have_ms >= PEERS_IDLE_MS)
        send_have(p, i, now_ms);
    due_ms = peer->have_ms + PEERS_IDLE_MS;
    if (peer->figures.rivals && now_ms - peer->told_ms >= PEERS_IDLE_MS) {
        peer->told_ms = now_ms;
        send_payload(p, i, LINK_RIVALS, 0);
    }
    if (!peer->heard_have)
        return due_ms;
    if (peer->untold && !MUTANT(tell_none))
        tell_forks(p, i, now_ms);
    due_ms = sooner(due_ms, feed_turn(p, i, &peer->own, now_ms));
    due_ms = sooner(due_ms, feed_turn(p, i, &peer->relay, now_ms));
    sending_turn(p, i, now_ms);
    return sooner(due_ms, fetch_turn(p, i, now_ms));
}

/* Also where the link seems up: what broke the connection may have been the end of the peer's run. */
void peers_reached(struct peers *p, size_t peer)
{
    p->peer[peer]->hello_ms = 0;
}

/* Counting may begin. */
static void join(struct peers *p, const char *with)
{
    if (with != NULL)
        log_info("caught up with %s: counting", with);
    else
        log_warn("no peer to catch up with within join-wait: counting all the same");
    core_open(node_core(p->config.node));
}

static bool holds_any(const struct peer *peer)
{
    for (const struct progress *p = peer->progress; p != NULL; p = p->hh.next)
        if (p->have > 0)
            return true;
    return false;
}

/* Is all that this peer holds enough? One that joins, too, has as yet only a part of what the others hold, and one that
 * holds nothing may not have reached them yet. */
static bool is_member(const struct peer *peer)
{
    return !peer->joins && (holds_any(peer) || MUTANT(join_empty));
}

/* A member of which the node lacks nothing; NULL: none. *all: of no peer does it lack anything. */
static const struct peer *caught_up_with(const struct peers *p, bool *all)
{
    *all = true;
    for (size_t i = 0; i < p->count; i++) {
        const struct peer *peer = p->peer[i];

        if (!peer->heard_have || lacked(p, peer) > 0)
            *all = false;
        else if (is_member(peer))
            return peer;
    }
    return NULL;
}

/* Once it holds all that a member has named; or, where all join, all that any of them has: a cluster that begins, or was
 * restored as a whole. Or it has waited long enough. */
static void try_to_join(struct peers *p, uint64_t now_ms)
{
    bool all;
    const struct peer *member = caught_up_with(p, &all);

    if (member != NULL)
        join(p, member->config.name);
    else if (all)
        join(p, "all peers, which join, too");
    else if (now_ms >= p->join_ms)
        join(p, NULL);
}

/* The log's end as it was some time ago. */
static void relay_clock(struct peers *p, uint64_t now_ms)
{
    if (now_ms - p->relay_ms < PEERS_RELAY_MS)
        return;
    p->relay_ms = now_ms;
    p->relay_lsn = p->relay_next_lsn;
    p->relay_next_lsn = wal_mark(node_wal(p->config.node)).lsn;
}

/* Say when copies are not to be had, and when they are again; at the start it takes a moment until peers are here. */
static void log_copies(struct peers *p, uint64_t now_ms)
{
    bool lack = !core_copies_to_be_had(node_core(p->config.node));
    struct core_figures figures;

    if (lack == p->copies_lack || (lack && now_ms - p->begun_ms < PEERS_SILENT_MS))
        return;
    p->copies_lack = lack;
    core_figures(node_core(p->config.node), &figures);
    if (!lack)
        log_info("copies = %u can be had: counting", figures.copies);
    else if (figures.nodes < figures.copies)
        log_warn("copies = %u, and %u nodes are connected: new counts are refused until "
                 "there are enough",
                 figures.copies, figures.nodes);
    else
        log_warn(
            "copies = %u came too late: new counts are refused until so many nodes hold "
            "all that was counted here",
            figures.copies);
}

/* Is this node about to go over to a checkpoint? What it holds above that is read from its own log, all of which
 * stays meanwhile. */
static bool takes_over(const struct peers *p, uint64_t now_ms)
{
    return p->fetch_from != NULL ||
           (p->offered_ms != 0 && now_ms - p->offered_ms < PEERS_SILENT_MS);
}

void peers_turn(struct peers *p, uint64_t now_ms, uint64_t *next_ms)
{
    uint64_t keep = UINT64_MAX;

    *next_ms = p->count > 0 ? now_ms + PEERS_RELAY_MS : UINT64_MAX;
    relay_clock(p, now_ms);
    watch_copied(p, now_ms);
    if (p->begun_ms == 0)
        p->begun_ms = now_ms;
    log_copies(p, now_ms);
    if (p->count > 0 && p->join_ms == 0)
        p->join_ms = now_ms + p->config.join_wait_ms;
    if (!core_is_open(node_core(p->config.node)))
        try_to_join(p, now_ms);
    for (size_t i = 0; i < p->count; i++) {
        struct peer *peer = p->peer[i];

        *next_ms = sooner(*next_ms, peer_turn(p, i, now_ms));
        keep = peer->own.low < keep ? peer->own.low : keep;
        keep = peer->relay.low < keep ? peer->relay.low : keep;
        if (peer->sending.open && peer->sending.source.lsn < keep)
            keep = peer->sending.source.lsn;
    }
    node_keep(p->config.node, takes_over(p, now_ms) ? 0 : keep);
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
    if (p->fetch_from == peer) {
        figures->fetched = p->fetch.len;
        figures->fetch_bytes = p->fetch.total;
    }
}

/* replica/peer.h: what the parts of replication to peers share (peers.c, holdings.c, feeds.c, intake.c, catchup.c, join.c,
 * copies.c): a peer, how far it is with each stream, and the list. Nobody else includes this: peers.h is the way in. */
#ifndef REPLICA_PEER_H
#define REPLICA_PEER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/log.h"
#include "replica/catchup.h"
#include "replica/feeds.h"
#include "replica/link.h"
#include "replica/peers.h"
#include "replica/streams.h"

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
    /* Something of it was stored, or looked at in vain: it is to hear where we stand; at once, or after so many more bytes
     * of blocks. */
    bool wants_have, wants_have_now;
    size_t unsaid_bytes;
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
    struct catchup catchup;
    uint64_t renewed_ms; /* when a stream was last begun on a peer's word */
    uint64_t copied_ms;  /* when a peer last said that this node has a rival; 0: never */
    bool copied;         /* and that is not long ago */
    struct log_limit forks, too_many; /* of the lines about them */
    uint64_t begun_ms;                /* the first turn */
    bool copies_lack;                 /* that was logged */
    uint8_t payload[LINK_PAYLOAD_MAX], sealed[LINK_MESSAGE_MAX];
};

/* ---- how far it is ---- */

/* NULL without memory. Good until peer_forget_progress(), or a HAVE that no longer names the stream. */
struct progress *peer_progress(struct peer *peer, const struct id *stream);
void peer_forget_progress(struct peer *peer);
/* It forks, says the peer: there is nothing more to send of it. */
bool peer_takes_no_more(const struct peer *peer, const struct progress *progress);
/* How many blocks of the stream the peer has, for core_lacks(); UINT64_MAX where it takes no more. arg: the peer. */
uint64_t peer_has(const void *arg, const struct id *stream);
bool peer_holds_any(const struct peer *peer);
/* Blocks that are held here and not by the peer; and those that it holds and this node does not. */
uint64_t peer_lacks(const struct peers *p, const struct peer *peer);
uint64_t peer_is_ahead(const struct peers *p, const struct peer *peer);

/* ---- saying something ---- */

/* Send p->payload[0..len) to peer i. */
void peer_send(struct peers *p, size_t i, uint8_t type, size_t len);
/* Say what was wrong with what it sent, at a bounded rate. */
void peer_log_dropped(struct peer *peer, const char *what, uint64_t now_ms);

static inline uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

#endif

/* replica/catchup.h: checkpoints for whoever lacks what the log no longer has: offered and sent to a peer, and fetched from
 * one (transfer.h), at most one at a time. What is fetched is the node's affair (node_offer()). */
#ifndef REPLICA_CATCHUP_H
#define REPLICA_CATCHUP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "replica/checkpoint.h"
#include "replica/link.h"
#include "replica/pace.h"
#include "replica/transfer.h"

struct peer;
struct peers;

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

/* The one that is fetched, and what was offered. */
struct catchup {
    struct fetch fetch;
    struct peer *from;    /* NULL: nothing is fetched */
    uint64_t progress_ms; /* when it last got on */
    uint64_t want_ms;     /* when it was last asked to go on; 0: to be asked now */
    uint64_t again_ms;    /* so much later again */
    uint64_t gap;         /* asked at once because of a gap, when so much was here */
    uint64_t after_ms;    /* none is begun before */
    uint64_t offered_ms;  /* when one that is lacked was offered last; 0: never */
    uint64_t remade_ms;   /* when one was made for a peer that is too far; 0: never */
};

/* A CHECKPOINT: a piece, or an offer. Errors: ERR_MALFORMED, ERR_MEMORY. */
enum err catchup_piece(struct peers *p, struct peer *peer,
                       const struct link_message *message, uint64_t now_ms);
/* A WANT. ERR_MALFORMED. */
enum err catchup_wanted(struct peer *peer, const struct link_message *message,
                        uint64_t now_ms);
/* Offer peer i a checkpoint if it is too far, and send what it has asked for. */
void catchup_send(struct peers *p, size_t i, uint64_t now_ms);
/* Ask peer i to go on, if it is the one that sends. Returns when that is due again. */
uint64_t catchup_fetch(struct peers *p, size_t i, uint64_t now_ms);
/* Give up what is fetched. */
void catchup_end(struct peers *p);
/* Is this node about to go over to a checkpoint? */
bool catchup_under_way(const struct peers *p, uint64_t now_ms);

#endif

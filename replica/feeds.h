/* replica/feeds.h: blocks to one peer: what of the log goes out, when, and again where it was lost.
 *
 * Two readers go through the log for each peer: one for the blocks that bear this node's key, which are sent as soon as
 * they are durable, and one for those of others, some time later. What is under way is bounded in blocks, messages and bytes
 * (pace.h). What was sent and is not in the peer's next HAVEs is read and sent again. */
#ifndef REPLICA_FEEDS_H
#define REPLICA_FEEDS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replica/pace.h"
#include "replica/wal.h"

struct peer;
struct peers;
struct unacked;

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

/* False without memory. Freed by feed_clear(), also then. */
bool feed_init(struct feed *feed, bool relay);
void feed_clear(struct feed *feed);
/* How far it has read: LSN. */
uint64_t feed_read(const struct feed *feed);

/* What was sent to the peer and is not in its HAVE is sent once more; from_start: and all of the log is looked at again. */
void feeds_rewind(struct peer *peer, bool from_start);
/* A HAVE was taken: what it acknowledges is not under way any more. */
void feeds_acknowledge(struct peer *peer, uint64_t now_ms);
/* Send what is due to peer i. Returns when there is more to do, if nothing comes. */
uint64_t feeds_turn(struct peers *p, size_t i, uint64_t now_ms);
/* In each turn: blocks of others are sent once they are PEERS_RELAY_MS old. */
void feeds_clock(struct peers *p, uint64_t now_ms);

#endif

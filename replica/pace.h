/* replica/pace.h: how much of what is sent to a peer is under way at a time, and when it is taken for lost. No I/O, no
 * clock.
 *
 * One connection carries everything to a peer: what this node holds, new blocks, old ones, pieces of a checkpoint.
 * It loses nothing while it lasts; so what is not acknowledged is mostly waiting, and all that is sent later waits
 * behind it. Therefore no more is under way than is acknowledged soon: little on a slow link, so that the rest of
 * the conversation gets through and nothing is sent again while it is still on its way, and on a fast one up to
 * PACE_MAX. */
#ifndef REPLICA_PACE_H
#define REPLICA_PACE_H
#include <stdbool.h>
#include <stdint.h>

enum {
    PACE_MIN = 16 * 1024, /* bytes under way; one message more always goes out */
    PACE_MAX = 4 * 1024 * 1024,
    /* An acknowledgement that takes so much longer than the fastest one: too much is under way. */
    PACE_SLACK_MS = 200,
    /* Nothing acknowledged for four times as long as it took last, within these bounds: lost. */
    PACE_LOST_MS = 1000,
    PACE_LOST_MAX_MS = 10000,
};

struct pace {
    uint64_t sent, acked; /* bytes, in all: the difference is under way */
    uint64_t window;      /* may be under way */
    bool near;            /* it was too much once: smaller steps */
    bool measuring;
    uint64_t mark,
        mark_ms;       /* when so much was sent: how long until it is acknowledged? */
    bool full;         /* as much as may be was under way then */
    uint64_t least_ms; /* that an acknowledgement took; UINT64_MAX: not known */
    uint64_t lost_ms, progress_ms;
};

/* A new conversation: nothing is known, nothing is under way. */
void pace_begin(struct pace *p);
bool pace_room(const struct pace *p);
void pace_sent(struct pace *p, uint64_t bytes, uint64_t now_ms);
void pace_acked(struct pace *p, uint64_t bytes, uint64_t now_ms);
/* Is what is under way to be sent again? */
bool pace_lost(const struct pace *p, uint64_t now_ms);
/* It was lost: less at a time, and more patience. */
void pace_slow(struct pace *p);
/* Whatever is under way is not waited for any more. */
void pace_forget(struct pace *p);

#endif

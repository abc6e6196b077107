/* replica/waits.h: a queue of answers that wait, in the order in which they came. No I/O, no clock. */
#ifndef REPLICA_WAITS_H
#define REPLICA_WAITS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/id.h"
#include "replica/component.h"
#include "replica/requests.h"

struct wait {
    uint64_t ticket;         /* the caller's, given back with the answer */
    const struct item *item; /* the component's */
    struct id id;
    int64_t number;         /* what will be said */
    struct own_place place; /* of the block that has to be durable */
    uint64_t due_ms;        /* when it is not waited for any longer */
    bool again;             /* a repeat: it was counted before */
};

/* Zero-initialised is empty. */
struct waits {
    struct wait *list; /* those that wait are list[first..first + count) */
    size_t first, count, size;
};

void waits_clear(struct waits *q);
/* At its end. False without memory. */
bool waits_add(struct waits *q, const struct wait *wait);
/* The oldest and the newest, or NULL; good until the queue changes. */
struct wait *waits_first(const struct waits *q);
struct wait *waits_last(const struct waits *q);
void waits_drop_first(struct waits *q);
void waits_drop_last(struct waits *q);
/* All but those for which keep() says false; their order stays. */
void waits_filter(struct waits *q, bool (*keep)(void *arg, const struct wait *wait),
                  void *arg);

#endif

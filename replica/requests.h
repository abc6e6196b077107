/* replica/requests.h: what this node remembers of the last counts that it took itself, by request id: so
 * that a repeat gets the first answer. The node's own; never part of the replicated state. */
#ifndef REPLICA_REQUESTS_H
#define REPLICA_REQUESTS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/id.h"
#include "replica/component.h"

/* A place in this node's own history: its streams are counted from 1 in the order in which they
 * were written. {0, 0}: before everything. */
struct own_place {
    uint64_t stream;
    uint64_t number; /* of the block */
};

struct request {
    struct id id;
    struct item *item; /* what it counted on; the component's */
    int64_t value;
    int64_t number; /* the total just after it: what was said */
    struct own_place place;
};

struct requests;

/* Room for `size` requests (a power of two). NULL without memory. */
struct requests *requests_new(size_t size);
void requests_free(struct requests *r);

/* NULL: not among those remembered. Good until the next add. */
const struct request *requests_find(const struct requests *r, const struct id *id);
/* The oldest is forgotten where there is no room. An id that is in it already is then found as it was added last:
 * it was counted again because it had been forgotten, and what was rebuilt from the log may still have it, since the
 * ops of a block do not stand in the order in which they came. */
void requests_add(struct requests *r, const struct request *request);
/* The place of the last one that was forgotten: of every block behind it, all requests are remembered. */
struct own_place requests_reach(const struct requests *r);

/* For checkpoints: how many, each from the oldest on, and the reach that is to be restored. */
size_t requests_count(const struct requests *r);
const struct request *requests_at(const struct requests *r, size_t index);
/* All of them, likewise, into an array that is large enough. */
void requests_copy(const struct requests *r, struct request *to);
void requests_set_reach(struct requests *r, struct own_place reach);

bool own_place_before(struct own_place a, struct own_place b);

#endif

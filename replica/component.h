/* replica/component.h: a part of the replicated state. Each is one entry in one static table; adding
 * one touches its own file and that table.
 *
 * apply() is deterministic (no clock, no random, no I/O) and cannot fail, because blocks of
 * different streams arrive in different orders on different nodes: what may be refused is refused at
 * the origin by admit(), before it is logged. */
#ifndef REPLICA_COMPONENT_H
#define REPLICA_COMPONENT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/byte.h"
#include "common/err.h"
#include "common/msg.h"
#include "replica/block.h"

/* Whether a counter is left out of lists: what the ops that retire it or show it again have come to. Which op counts
 * does not depend on the order in which they arrive: it is the one with the greatest (generation, hidden is less, total).
 * An op is of a generation above those that its node had seen; of two that did not see each other it is the one to show. */
struct retirement {
    uint32_t generation; /* 0: there was none */
    bool hidden;
    int64_t
        total; /* as of which it is hidden: one count more, from anywhere, and it shows again */
};

/* One thing with a total, owned by its component's state for as long as that lives. Components
 * derive their items from it. */
struct item {
    int64_t total;    /* all that is applied */
    int64_t reserved; /* admitted here, not yet applied */
    uint64_t mark;    /* for the core, which gathers ops by item; see core.c */
    uint32_t group;   /* likewise */
    uint32_t rank;    /* its place among what was encoded last; from 0 */
    uint8_t key_len;
    bool applied; /* something was; until then it exists for its reservation only */
    const char *key;
    struct retirement retirement;
};
/* Is it retired, and was nothing counted since? */
bool item_hidden(const struct item *item);

struct component {
    uint8_t number;   /* in blocks; never given out twice */
    const char *name; /* in checkpoints */
    unsigned version; /* of what encode() writes; decode() reads it and every older one */

    /* items_max: how many items admit() may bring into being. NULL without memory. */
    void *(*create)(size_t items_max);
    void (*destroy)(void *state);

    /* Whether an op from a block can be applied. ERR_VERSION: of a kind unknown here;
     * ERR_MALFORMED: not as admit() would have let it pass. */
    enum err (*check)(const struct op *op);
    /* At the origin: may this be logged? On STATUS_FINAL the op's value is reserved, *item is what it works
     * on, and the total before it is item->total + item->reserved less the op's value. Others:
     * STATUS_ERROR, STATUS_DENIED; nothing is changed then. */
    enum status (*admit)(void *state, const struct op *op, struct item **item);
    /* Never fails but for memory: NULL, and the process has to stop. admitted: the op was admitted by this state,
     * and its reservation is released. */
    struct item *(*apply)(void *state, const struct op *op, bool admitted);

    /* NULL where there is none with anything applied. */
    const struct item *(*find)(const void *state, const char *key, size_t key_len);
    /* Items that there are, those that only have reservations included. */
    size_t (*count)(const void *state);
    /* Items in the order of their keys' bytes, those that only have reservations included: the first that is not
     * below key (past: that is above it), and the one behind another; NULL: none. */
    struct item *(*first_from)(void *state, const char *key, size_t key_len, bool past);
    struct item *(*next)(const struct item *item);

    /* A digest of what is applied: the same wherever the state is the same, whatever way it came about, and kept
     * up at little cost, so that peers can compare theirs with every message. hash: the core's. What changed since the
     * last one is hashed then; prepare_digest() does so ahead, until at most `left` items are to be. */
    void (*prepare_digest)(void *state, void (*hash)(struct hash *, const void *, size_t),
                           size_t left);
    void (*digest)(void *state, void (*hash)(struct hash *, const void *, size_t),
                   struct hash *digest);

    /* The canonical encoding: equal states have equal bytes. encoded_max(): what it takes at most. */
    size_t (*encoded_max)(void *state);
    void (*encode)(void *state, struct writer *w);
    /* The same in pieces, as of the moment when it began, whatever is admitted and applied meanwhile. step() takes at
     * most so many items further, says in `rank` which was which, and returns true once it is through; it
     * ends the snapshot, and there is one at a time. What is applied to an item that it has not come to costs a copy. */
    void (*snapshot_begin)(void *state);
    bool (*snapshot_step)(void *state, struct writer *w, size_t items);
    /* Into a fresh state. ERR_MALFORMED, ERR_VERSION, ERR_MEMORY. */
    enum err (*decode)(void *state, struct reader *r, unsigned version);
};

extern const struct component counter_component;

enum { COMPONENT_COUNT = 1 };
extern const struct component *const components[COMPONENT_COUNT];

const struct component *component_by_number(uint8_t number);

#endif

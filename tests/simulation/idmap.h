/* tests/simulation/idmap.h: a table from 128-bit ids, which are random, to small numbers.
 */
#ifndef SIMULATION_IDMAP_H
#define SIMULATION_IDMAP_H
#include <stddef.h>
#include <stdint.h>

#include "common/id.h"

struct idmap_slot {
    struct id id;
    uint64_t value; /* + 1; 0: free */
};

/* Zero-initialised is empty. */
struct idmap {
    struct idmap_slot *slots;
    size_t size, count;
};

/* -1 where it is not in it. */
int64_t idmap_get(const struct idmap *map, const struct id *id);
void idmap_set(struct idmap *map, const struct id *id, uint64_t value);
void idmap_clear(struct idmap *map);

#endif

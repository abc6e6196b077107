/* tests/simulation/ledger.h: what one disk of a cluster holds for good, as its durable bytes tell it: blocks in the
 * log, and checkpoints. */
#ifndef SIMULATION_LEDGER_H
#define SIMULATION_LEDGER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replica/core.h"
#include "tests/simulation/archive.h"
#include "tests/simulation/simdisk.h"

struct ledger_tried;

struct ledger {
    struct archive *archive;
    unsigned node; /* whose disk it is */
    bool live;     /* its process has recovered, and is not dead */
    bool peered;   /* its node has, or had, a peer, as far as its disk can know */
    struct held held;
    struct held
        seen; /* what its process had applied when it last looked: what the numbers of the next block build on */
    bool changed; /* since then */
    struct held
        unread; /* blocks that came with checkpoints of others, so that nobody here saw what is in them */
    bool
        forgets; /* blocks that its process wrote were gone from here, and came back in another order */
    bool copied;                /* its node had a clone: two disks hold what it counted */
    size_t requests;            /* ids that its process remembers */
    struct ledger_tried *tried; /* written, and not known to be durable, in their order */
    size_t tried_count, tried_size;
    bool
        adopted; /* it went over to another node's checkpoint, the last time that it made one */
    uint64_t proofs; /* of forks, written */
};

void ledger_clear(struct ledger *l);

/* ---- what the disk does ---- */

void ledger_writes(struct ledger *l, const struct simfile *file, uint64_t offset,
                   const void *bytes, size_t len);
void ledger_synced(struct ledger *l, const struct simfile *file);
/* A file stands, name and all. */
void ledger_made(struct ledger *l, const struct simfile *file);

/* ---- its process ---- */

/* It has applied all that is durable. */
void ledger_applied(struct ledger *l);
/* It died, or is going to start. */
void ledger_ends(struct ledger *l);
/* It has recovered: it must hold what was held, and nothing that nobody wrote. */
void ledger_recovered(struct ledger *l, const struct core *core);
/* Whether what the process holds is what its disk holds: no more, no less, and the same. */
void ledger_check(const struct ledger *l, const struct core *core);

#endif

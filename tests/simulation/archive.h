/* tests/simulation/archive.h: every block that any process of a cluster ever wrote, kept for ever, with what its
 * stream comes to; and sets of blocks, one end per stream. From these every promise about blocks is checked. */
#ifndef SIMULATION_ARCHIVE_H
#define SIMULATION_ARCHIVE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/id.h"
#include "replica/block.h"
#include "replica/crypto.h"

enum { ARCHIVE_COUNTERS = 12 };

struct archived {
    struct archived *parent; /* the one before it in its stream; NULL: it is the first */
    struct archived *other;  /* another content under the same number: the stream forks */
    struct archived *older;  /* all there are */
    struct hash hash;
    uint64_t number;
    uint32_t stream;
    uint32_t nodes;                  /* on whose disks it was durable: bits */
    bool logged;                     /* it stands in somebody's log, at the end */
    int64_t total[ARCHIVE_COUNTERS]; /* of its stream, up to and with it */
    size_t len;
    uint8_t bytes[];
};

struct archive_stream {
    struct id id, cluster;
    unsigned node;    /* who writes it */
    bool provisional; /* what its numbers are, or FINAL */
    bool may_fork;    /* a resumed snapshot goes on with it, too */
    bool forked;
    struct archived **blocks; /* by number - 1 */
    size_t count, size;
};

/* A count that stands in a block. */
struct archived_count {
    struct archived *block;
    int64_t before; /* index of the one before with the same id; -1: none */
    int64_t value, number;
    uint32_t counter;
    bool said; /* it was answered: who asks now asks again */
    bool
        again; /* an earlier block with it was held by its node, which had not seen what is in it */
};

/* Which blocks something holds: of each stream the last one, and all before it. Zero-initialised holds none. */
struct held {
    struct archived **end; /* by stream; NULL: none */
    size_t size;
};

struct archive;

/* keys: of the nodes. All are kept by pointer. */
struct archive *archive_new(const struct crypto *crypto, const struct key_pair *keys,
                            unsigned nodes);
void archive_free(struct archive *a);

size_t archive_streams(const struct archive *a);
struct archive_stream *archive_stream(const struct archive *a, size_t index);
/* NULL: no such stream. */
struct archive_stream *archive_find(const struct archive *a, const struct id *id);
struct archived *archive_block(const struct archive *a, const struct position *position,
                               const struct hash *hash);
/* The block that has these bytes. NULL: nobody wrote it yet. */
struct archived *archive_known(const struct archive *a, const uint8_t *bytes, size_t len);
size_t archive_blocks(const struct archive *a);

/* A block that nobody wrote before, by a process of this node whose disk holds `seen`: all that can be told of it is
 * checked. */
struct archived *archive_add(struct archive *a, unsigned node, const struct held *seen,
                             const uint8_t *bytes, size_t len);
/* It is durable on a disk of this node, and all before it: from here on it counts. */
void archive_durable(struct archive *a, struct archived *block, unsigned node);
/* This stream may be written to by two. */
void archive_may_fork(struct archive *a, const struct id *id);

/* The last count with this id that any node of these wrote; -1. */
int64_t archive_counted(const struct archive *a, const struct id *id);
const struct archived_count *archive_count_at(const struct archive *a, int64_t index);
void archive_again(struct archive *a, int64_t index);
void archive_said(struct archive *a, int64_t index);
size_t archive_counts(const struct archive *a);

/* ---- sets ---- */

void held_clear(struct held *h);
void held_copy(struct held *to, const struct held *from);
struct archived *held_end(const struct held *h, size_t stream);
/* The number of its last block of a stream. */
uint64_t held_number(const struct held *h, size_t stream);
void held_set(struct held *h, struct archived *block);
bool held_has(const struct archive *a, const struct held *h,
              const struct archived *block);
/* Each stream as far as the one that has more of it; of forked ones either. */
void held_add(struct held *h, const struct held *more);
int64_t held_total(const struct held *h, uint32_t counter);
uint64_t held_blocks(const struct held *h);

#endif

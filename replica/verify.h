/* replica/verify.h: proof of what a log holds, from its bytes and the public keys in it: that each
 * checksum, hash and signature of every checkpoint, segment and block fits, that each stream's
 * blocks follow one another, that the numbers that were said follow from the counts before them,
 * and that each checkpoint is what the log makes of the one before it. Changes nothing. */
#ifndef REPLICA_VERIFY_H
#define REPLICA_VERIFY_H
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "replica/crypto.h"
#include "replica/disk.h"
#include "replica/wal.h"

struct verify_report {
    uint64_t checkpoints, blocks, counts, streams;
    uint64_t forks; /* blocks kept as proof that their streams fork */
    struct wal_end end;
    /* The first thing that does not fit; "" where all does. */
    char reason[256];
    char file[DISK_NAME_MAX + 1]; /* "" where it is in no one file */
    uint64_t offset;              /* of the frame in that file */
};

/* own: this node's key, or NULL where it is not known: a log of its blocks alone has no peers'. limit: LSN of a place between two frames where to end, because a running node writes behind it;
 * UINT64_MAX: none. *report is filled in on every outcome.
 * Errors: ERR_CORRUPT  something does not fit: report->reason
 *         ERR_VERSION, ERR_IO, ERR_NOT_FOUND (a running node removed a file), ERR_MEMORY: logged but
 *         for ERR_MEMORY */
enum err verify_log(struct disk *disk, const struct crypto *crypto,
                    const struct public_key *own, uint64_t limit,
                    struct verify_report *report);

#endif

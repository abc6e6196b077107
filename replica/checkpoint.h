/* replica/checkpoint.h: the state as of one place in the log, in one file that is made whole or not at
 * all. The bytes are in FORMAT.md. */
#ifndef REPLICA_CHECKPOINT_H
#define REPLICA_CHECKPOINT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "replica/core.h"
#include "replica/disk.h"
#include "replica/wal.h"

enum {
    CHECKPOINT_FORMAT = 1,
    CHECKPOINT_KEPT = 2, /* files: the newest, and the one before it in case that rots */
};

/* One file: its name is its number in 16 digits, and ".checkpoint". */
struct checkpoint {
    uint64_t number;
    struct wal_mark mark; /* everything before it is in the checkpoint */
    struct hash state;    /* of the replicated state's encoding */
    struct public_key maker;
};

void checkpoint_name(uint64_t number, char name[DISK_NAME_MAX + 1]);

/* A checkpoint that is being encoded, in pieces: counting goes on between them. */
struct checkpoint_draft;

/* Of core's state as of mark, which is now: nothing may be gathered or unwritten. crypto and key must outlive the draft,
 * and so must core. ERR_MEMORY. */
enum err checkpoint_draft_new(struct core *core, const struct wal_mark *mark,
                              uint64_t number, const struct crypto *crypto,
                              const struct key_pair *key,
                              struct checkpoint_draft **draft);
/* At most so many items or requests more. ERR_OK: it is all encoded, and *make is the file to be made, whose bytes are the
 * draft's: hashing and signing them is left to make->complete(). ERR_AGAIN: there is more. ERR_MEMORY. */
enum err checkpoint_draft_step(struct checkpoint_draft *draft, size_t items,
                               struct disk_make *make);
/* Not while its file is being made. */
void checkpoint_draft_free(struct checkpoint_draft *draft);

/* The numbers of the files there are, newest first, at most `max`; *count is how many there are in all.
 * ERR_IO. */
enum err checkpoint_list(struct disk *disk, uint64_t *numbers, size_t max, size_t *count);

/* Read a file, check all of it, and load it into a new core; core NULL: check only. *checkpoint is filled in
 * as far as it could be read.
 * Errors: ERR_CORRUPT  a hash or the signature differs, or the encoding is broken
 *         ERR_VERSION  written by a newer version
 *         ERR_IO, ERR_NOT_FOUND, ERR_MEMORY. Logged. */
enum err checkpoint_load(struct disk *disk, uint64_t number, const struct crypto *crypto,
                         struct core *core, struct checkpoint *checkpoint);

/* ---- for other nodes ---- */

/* What travels of a checkpoint: the replicated state, and who says so. Not its maker's own memory. */
struct checkpoint_seal {
    struct public_key maker;
    uint8_t signature[SIGNATURE_BYTES]; /* of the hash of the state's encoding */
};
bool checkpoint_sealed(const struct crypto *crypto, const uint8_t *state, size_t len,
                       const struct checkpoint_seal *seal, struct hash *hash);

/* A file that is open for reading its state in pieces; it can be read to the end even where it is removed
 * meanwhile. Nothing of it was checked but its lengths: whoever gets it looks at the seal. */
struct checkpoint_source {
    struct disk *disk;
    struct disk_file *file;
    uint64_t number;
    uint64_t lsn;   /* everything before it in the log is in the state */
    uint64_t bytes; /* of the state */
    struct checkpoint_seal seal;
};
/* Errors: ERR_NOT_FOUND, ERR_CORRUPT, ERR_VERSION, ERR_IO. */
enum err checkpoint_source_open(struct disk *disk, uint64_t number,
                                struct checkpoint_source *source);
/* Exactly len bytes of the state. ERR_IO, ERR_CORRUPT (the file is shorter). */
enum err checkpoint_source_read(const struct checkpoint_source *source, uint64_t offset,
                                void *to, size_t len);
void checkpoint_source_close(struct checkpoint_source *source);

#endif

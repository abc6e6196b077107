/* replica/look.h: a state directory as it stands on the disk, read and never changed: what tallyctl
 * knows of a node that does not run. */
#ifndef REPLICA_LOOK_H
#define REPLICA_LOOK_H
#include "common/err.h"
#include "replica/core.h"
#include "replica/disk.h"
#include "replica/node.h"
#include "replica/wal.h"

/* The folder at path, for reading only: of the disk's operations it has open, close, size, read and
 * list. Errors: ERR_NOT_FOUND, ERR_IO, ERR_MEMORY; logged but for ERR_MEMORY. */
enum err look_disk_open(const char *path, struct disk **disk);
void look_disk_close(struct disk *disk);

/* What a recovery would find. */
struct look {
    struct core *core;
    struct node_figures figures; /* as node_figures() would say right after the start */
    struct wal_end end;
};

/* own: the node's public key, by which its own streams are known. On ERR_OK *look is to be freed by
 * look_close().
 * Errors: as node_open(); what is damaged is logged. */
enum err look_open(struct disk *disk, const struct public_key *own, struct look *look);
void look_close(struct look *look);

#endif

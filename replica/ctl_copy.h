/* replica/ctl_copy.h: the files of a log, copied as of one place in it, also while a node goes on writing them.
 *
 * All of them are opened first, and the place is asked for afterwards: what is open can be read to its end, whatever
 * the node removes or archives meanwhile, and of what stands before the place nothing is ever written again. */
#ifndef REPLICA_CTL_COPY_H
#define REPLICA_CTL_COPY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "replica/disk.h"

struct copy_file {
    char name[DISK_NAME_MAX + 1];
    int fd;
    uint64_t size;
    uint64_t base; /* of a segment: its first LSN; UINT64_MAX: a checkpoint */
};

struct copy {
    struct copy_file *list; /* in the order of their names */
    size_t count, size;
};

/* Open all segments and checkpoints of a folder.
 * Errors: ERR_AGAIN  the node has just removed one, or made one: open them anew
 *         ERR_CORRUPT, ERR_VERSION: a segment's header; ERR_IO, ERR_MEMORY. Logged */
enum err copy_open(struct copy *c, const char *folder);
void copy_close(struct copy *c);

/* Whether the segments reach up to that LSN. */
bool copy_reaches(const struct copy *c, uint64_t lsn);
uint64_t copy_bytes(const struct copy *c, uint64_t end);

/* Make the same files in the folder `to`, a descriptor, each synced and read back: segments up to the LSN `end`, with
 * zeros behind it, as in a log that ends there. what: for the progress told.
 * Errors: ERR_FULL     not logged
 *         ERR_REFUSED  progress_interrupted()
 *         ERR_CORRUPT  what was written reads back different, or a file became shorter; logged
 *         ERR_IO, ERR_MEMORY: logged */
enum err copy_to(const struct copy *c, uint64_t end, int to, const char *what);

#endif

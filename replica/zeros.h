/* replica/zeros.h: what a file ought to have zeros in. */
#ifndef REPLICA_ZEROS_H
#define REPLICA_ZEROS_H
#include <stdint.h>

#include "common/err.h"
#include "replica/disk.h"

/* Look at bytes [from, to) of a file; to: UINT64_MAX for its end.
 * Errors: ERR_CORRUPT  one is not zero; *offset is the first that is not
 *         ERR_NOT_FOUND, ERR_IO, ERR_MEMORY */
enum err zeros_check(struct disk *disk, const char *name, uint64_t from, uint64_t to,
                     uint64_t *offset);

#endif

/* replica/file.h: small files of the working directory that are made once. */
#ifndef REPLICA_FILE_H
#define REPLICA_FILE_H
#include <stddef.h>

#include "common/err.h"

/* Make a file (0600) whole or not at all: written as NAME.new, synced, renamed, folder synced.
 * Errors: ERR_IO, ERR_FULL; logged but for ERR_FULL. */
enum err file_make(const char *name, const void *bytes, size_t len);

#endif

/* replica/ctl_manifest.h: what a backup says of itself. A backup is a folder that holds
 *     FORMAT     "tally backup 1", one line of JSON, and its hash in hexadecimal: the manifest
 *     log/       segments and checkpoints, as in a state directory (FORMAT.md)
 *     node.key   only where it was asked for
 * so every command that reads a node's files reads it, too, and tallyd refuses to run in it. */
#ifndef REPLICA_CTL_MANIFEST_H
#define REPLICA_CTL_MANIFEST_H
#include <jansson.h>

#include "replica/ctl_place.h"
#include "replica/wal.h"

/* As place_put(); ERR_MEMORY. */
enum err manifest_put(const struct place *place, const json_t *manifest);
/* Of the backup at path; *manifest is the caller's. What is wrong is told.
 * Errors: ERR_NOT_FOUND, ERR_CORRUPT, ERR_VERSION, ERR_IO, ERR_MEMORY */
enum err manifest_read(const char *path, json_t **manifest);

/* "end": the place in the log where it ends. */
enum err manifest_end(const json_t *manifest, struct wal_mark *end);

#endif

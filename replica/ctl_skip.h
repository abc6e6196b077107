/* replica/ctl_skip.h: numbers that may have been said and are not in a backup are left out: each counter is corrected
 * upwards, as `tallyctl add` does, in the log of the node that is being restored. */
#ifndef REPLICA_CTL_SKIP_H
#define REPLICA_CTL_SKIP_H
#include <stdint.h>

#include "common/err.h"
#include "replica/crypto.h"

#define SKIP_REASON "restore --skip"

/* In the state directory, which no tallyd uses: adds `numbers` to every counter whose name is like pattern (NULL:
 * every one), in a stream of its own; all is durable when it returns. node: the node's name. *counters: how many
 * there were.
 * Errors: ERR_RANGE  a total would pass 2^62
 *         as node_open(); ERR_FULL */
enum err skip_numbers(const struct key_pair *key, const char *node,
                      uint64_t segment_bytes, int32_t numbers, const char *pattern,
                      uint64_t *counters);

#endif

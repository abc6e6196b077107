/* replica/key.h: the node's key pair, made at its first start. */
#ifndef REPLICA_KEY_H
#define REPLICA_KEY_H
#include <stdbool.h>

#include "common/err.h"
#include "replica/crypto.h"

/* In the state directory: one line, "tally-key-1 " and the seed of the Ed25519 key pair in
 * hexadecimal. 0600: whoever can read it can sign as this node. */
#define KEY_FILE "node.key"

/* Read the key from the working directory; where there is none and `make` is set, make it.
 * Errors, logged with what to do:
 *   ERR_REFUSED    others may read the file, or it belongs to somebody else
 *   ERR_MALFORMED  it is no key
 *   ERR_VERSION    it is of a newer format
 *   ERR_NOT_FOUND  there is none, and `make` is not set; not logged
 *   ERR_IO, ERR_FULL */
enum err key_read(bool make, struct key_pair *key);

#endif

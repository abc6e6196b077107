/* replica/intake.h: blocks and proofs of forks that a peer sends, on their way to the node; what is refused is told. */
#ifndef REPLICA_INTAKE_H
#define REPLICA_INTAKE_H
#include <stdint.h>

#include "common/err.h"
#include "replica/link.h"

struct peer;
struct peers;

/* A BLOCKS, or a BLOCKS_AWAITED; a FORK. Errors: as node_receive(). */
enum err intake_blocks(struct peers *p, struct peer *peer,
                       const struct link_message *message, uint64_t now_ms);
enum err intake_proof(struct peers *p, struct peer *peer,
                      const struct link_message *message, uint64_t now_ms);

#endif

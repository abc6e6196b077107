/* replica/holdings.h: what this node and a peer say to each other that they hold (HAVE), and what follows from it: what the
 * peer lacks, what of that the log no longer has, whether a stream forks, whether both have one state. */
#ifndef REPLICA_HOLDINGS_H
#define REPLICA_HOLDINGS_H
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "replica/link.h"

struct peer;
struct peers;

/* A HAVE. Errors: ERR_MALFORMED, ERR_MEMORY. */
enum err holdings_heard(struct peers *p, struct peer *peer,
                        const struct link_message *message, uint64_t now_ms);
/* Send one to peer i. */
void holdings_tell(struct peers *p, size_t i, uint64_t now_ms);

#endif

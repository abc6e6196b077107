/* replica/copies.h: which of this node's own blocks are held by how many nodes (`copies = N`), from what the peers say. */
#ifndef REPLICA_COPIES_H
#define REPLICA_COPIES_H
#include <stdbool.h>
#include <stdint.h>

struct peers;

/* Tell the core. less: what was held may not be any more; else only what was not is looked at. */
void copies_tell(struct peers *p, bool less);
/* In each turn: say when copies are not to be had, and when they are again. */
void copies_log(struct peers *p, uint64_t now_ms);

#endif

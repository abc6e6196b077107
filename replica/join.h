/* replica/join.h: when a node that joins a cluster has caught up, and may say numbers. */
#ifndef REPLICA_JOIN_H
#define REPLICA_JOIN_H
#include <stdint.h>

struct peers;

/* In each turn, while the node is not open. */
void join_turn(struct peers *p, uint64_t now_ms);

#endif

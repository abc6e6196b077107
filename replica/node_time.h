/* replica/node_time.h: the time that node.h wants to be told, for whoever drives a real node. */
#ifndef REPLICA_NODE_TIME_H
#define REPLICA_NODE_TIME_H
#include "common/clock.h"
#include "replica/node.h"

static inline struct node_time node_time_now(void)
{
    return (struct node_time){.mono_ms = clock_mono_ms(), .wall_ms = clock_wall_ms()};
}

#endif

/* replica/gauges.h: what the state process shows of itself in memory that the master mapped before it forked: so
 * that whoever serves figures to strangers needs no way into the process that holds the key. One writer, the
 * state process; any process may look. */
#ifndef REPLICA_GAUGES_H
#define REPLICA_GAUGES_H
#include <stdbool.h>
#include <stdint.h>

#include "common/times.h"
#include "replica/network.h"
#include "replica/node.h"

struct gauges_view {
    bool joining;     /* no number is said yet: it is to catch up with a peer first */
    bool provisional; /* what numbers are, or FINAL */
    bool full;        /* for want of room no new count is taken, or soon will not be */
    uint64_t counters, streams, forks;
    uint64_t blocks, counts, commits; /* since the process began, recovery included */
    uint64_t log_first, log_end;      /* LSNs of what is kept */
    uint64_t copies, nodes, waiting, late; /* as in core_figures */
    uint64_t disk,
        disk_free; /* bytes of the state directory's file system, and for this node; 0, 0: not known */
    uint64_t checkpoint;    /* number of the last; 0: none */
    uint64_t checkpoint_ms; /* wall clock of its making; 0: before the process began */
    struct network_figures network;
    size_t peers;
    struct peer_figures peer[PEERS_MAX];
};

struct gauges;

/* NULL without memory. */
struct gauges *gauges_map(void);

/* ---- the state process, in the state directory ---- */

void gauges_publish(struct gauges *gauges, struct node *node,
                    const struct network *network);
/* How long commits took. */
struct times *gauges_commits(struct gauges *gauges);

/* ---- others ---- */

/* As it was published last. False: not since the state process began. */
bool gauges_look(const struct gauges *gauges, struct gauges_view *view,
                 struct times *commits);
/* The state process ended: what it showed is no more. The master's, when no writer lives. */
void gauges_clear(struct gauges *gauges);

#endif

/* server/spawn.h: forks the master's children. One that cannot be forked is tried again by tree_start_due(): its slot
 * waits as after a crash. */
#ifndef SERVER_SPAWN_H
#define SERVER_SPAWN_H
#include "server/master.h"

/* What ps shows of this process, "tallyd: worker 1". */
void spawn_title(const struct master *m, const char *text);

/* process: the slot's own `now`, or `next`. */
void spawn_worker(struct master *m, struct slot *slot, struct process *process);
void spawn_metrics(struct master *m);
void spawn_state(struct master *m);

/* A worker's place in the figures is free: its process is no more, and with it its calls. */
void spawn_leave(struct master *m, unsigned place);

#endif

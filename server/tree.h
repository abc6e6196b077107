/* server/tree.h: the master's children: which shall run, which do, and what is done where these differ. */
#ifndef SERVER_TREE_H
#define SERVER_TREE_H
#include "server/master.h"

/* As many slots for workers as the configuration in force has; those above it retire: they take no more calls, and end
 * with the last one they have. */
void tree_fit(struct master *m);
/* Start whatever shall run, does not, and has waited long enough. */
void tree_start_due(struct master *m, uint64_t now);
/* Where workers are to be replaced: the next one of an older configuration gets its successor, one at a time. */
void tree_replace_one(struct master *m, uint64_t now);
/* When one of these two has something to do; UINT64_MAX: never. */
uint64_t tree_due_ms(const struct master *m, uint64_t now);

/* Workers say on the pipe ready_fd that they serve, the state process on its own way. Once all do, so does the node, which
 * is logged and told. */
void tree_read_ready(struct master *m);
void tree_hear_state(struct master *m);
/* Tell the service manager that calls are taken, and where. */
void tree_tell_ready(const struct master *m);
/* The service manager looks after the master, and the master after the state process: ask it, and kill it where it has
 * said nothing for long. */
void tree_watch(struct master *m, uint64_t now);

/* Children that have ended: started again, unless that is what was asked of them. */
void tree_reap(struct master *m);
bool tree_workers_left(const struct master *m);
void tree_signal_workers(const struct master *m, int number);
/* No worker is left: the others are asked to end. */
void tree_end_state(struct master *m, uint64_t now);
/* SIGKILL for all; the master ends with exit_code. */
void tree_kill(struct master *m, int exit_code);

#endif

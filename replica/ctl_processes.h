/* replica/ctl_processes.h: the processes of the node whose state directory is entered, as the kernel lists them. */
#ifndef REPLICA_CTL_PROCESSES_H
#define REPLICA_CTL_PROCESSES_H
#include <stdbool.h>
#include <sys/types.h>

struct processes {
    pid_t master;     /* 0: not known */
    pid_t state;      /* 0: none runs now */
    pid_t worker;     /* one of the workers; 0: none */
    unsigned workers; /* with those that only finish their calls */
};

/* False: they cannot be told: another user's /proc, or no tallyd has the directory. */
bool processes_look(struct processes *processes);

#endif

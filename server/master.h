/* server/master.h: what the master process knows. Its modules share it, and no other process's: master.c (the start,
 * signals, the loop), spawn.c (forks), tree.c (who runs, and who shall), reload.c (a new configuration). One thread. */
#ifndef SERVER_MASTER_H
#define SERVER_MASTER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/conf.h"
#include "replica/gauges.h"
#include "server/backoff.h"
#include "server/figures.h"
#include "server/listen.h"
#include "server/script.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

enum {
    /* Replaced workers whose calls have not ended yet: with so many, no new configuration
     * is taken. */
    OLD_MAX = 4 * CONF_WORKERS_MAX,
    PLACES = OLD_MAX + 2 * CONF_WORKERS_MAX,
};

struct process {
    pid_t pid; /* 0: none */
    uint64_t started_ms;
    unsigned place;      /* a worker's, in the figures */
    unsigned generation; /* of the configuration that it has */
    bool ready;          /* it serves */
};

/* Something that is to run always. */
struct slot {
    char role[20];
    unsigned number; /* a worker's, from 1; 0: another process */
    struct process now;
    struct process next; /* with a newer configuration: takes over once it serves */
    struct backoff backoff;
    uint64_t start_ms; /* not before that, if it does not run */
};

enum phase {
    PHASE_RUN,
    PHASE_WORKERS_END, /* asked to stop: the state process still serves them */
    PHASE_STATE_ENDS,
    PHASE_KILLED, /* everything was; what is left is to reap it */
};

struct master {
    char *argv0; /* where the kernel put it */
    size_t argv0_len;
    char *conf_path;
    struct conf *conf;
    struct script_table *scripts;
    struct listeners listeners;
    struct figures *figures;
    struct gauges *gauges;
    int metrics_fd; /* where figures are served; -1: nowhere */
    bool place_taken[PLACES];
    int lock_fd, signals_fd, ready_fd[2];
    int settings_fd; /* to the state process there is; -1: none was started yet */
    pid_t pid;
    uint64_t watch_ms; /* how long processes may be silent; 0: for ever */
    uint64_t ask_ms;   /* when the manager is told and the state process asked */
    uint64_t heard_ms; /* when the state process said something last */

    struct slot state, metrics, worker[CONF_WORKERS_MAX];
    unsigned workers;
    struct process old[OLD_MAX];
    size_t old_count;

    unsigned generation;
    bool replacing; /* workers of an older generation are to be replaced */
    bool reload_asked, ready_said;
    enum phase phase;
    uint64_t kill_ms; /* what is asked to end is killed then */
    int exit_code;
};

#endif

/* server/worker.h: a worker process: accepts FastAGI connections on the sockets it
 * inherited and runs the calls in one event loop. Unprivileged: it has no key and can
 * open no file. */
#ifndef SERVER_WORKER_H
#define SERVER_WORKER_H
#include <signal.h>

#include "common/conf.h"
#include "server/figures.h"
#include "server/listen.h"
#include "server/script.h"

/* Signals of the master's, blocked since before the fork. STOP: take no more calls, let
 * those here finish for at most drain-time; a second one: do not wait for them. RETIRE:
 * the same without that bound, because others serve on and every call ends by call-time:
 * no caller is lost to a new configuration. */
enum { WORKER_STOP = SIGTERM, WORKER_RETIRE = SIGUSR2 };

/* What the master prepared before it forked; all of it must live on. */
struct worker_start {
    const struct conf *conf;
    const struct script_table *scripts;
    const struct listeners *listeners;
    struct figures_worker *figures;
    unsigned number; /* from 1, for the log */
    int ready_fd;    /* gets this process's pid_t once it serves */
};

/* Run until told to stop. Returns the exit code, 0 or 1; what went wrong was logged. */
int worker_main(const struct worker_start *start);

#endif

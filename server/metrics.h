/* server/metrics.h: a process that serves figures over HTTP to whoever may connect: GET /metrics in Prometheus' text
 * format (version 0.0.4), and GET /healthz, 200 when the node takes calls and counts, or else 503 and what is
 * wrong. It has no key, can open no file and has no way into the other processes: it reads memory that was
 * mapped before the forks, so a scrape disturbs no call. */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H
#include "common/conf.h"
#include "replica/gauges.h"
#include "server/figures.h"

enum {
    METRICS_CONNECTIONS = 64, /* at once; as many more wait */
    METRICS_IDLE_S = 5,       /* then a connection is closed */
};

/* What the master prepared before it forked; all of it must live on. */
struct metrics_start {
    const struct conf *conf;
    const struct figures *figures;
    const struct gauges *gauges;
    int listen_fd; /* it takes it over */
};

/* Run until SIGTERM, which is blocked since before the fork. Returns the exit code, 0 or 1; what went wrong was logged. */
int metrics_main(const struct metrics_start *start);

/* The two answers, for tests: text from malloc(), the caller's; NULL without memory. */
char *metrics_text(const struct metrics_start *start);
char *metrics_health(const struct metrics_start *start, bool *good);

#endif

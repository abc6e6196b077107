/* replica/ctl_live.h: a node that is asked again and again, also while its processes end and come back. */
#ifndef REPLICA_CTL_LIVE_H
#define REPLICA_CTL_LIVE_H
#include <jansson.h>
#include <stdbool.h>

#include "replica/ctl_node.h"

/* Zero-initialised but for the first two. */
struct live {
    struct ctl_node *node;
    unsigned wait_ms; /* for an answer */
    bool lost;        /* the last question was not answered */
    bool changed;     /* another process answered it than the one before; at first, too */
    unsigned pause_ms;          /* while it is lost: until it is asked again; grows */
    json_int_t pid, started_ms; /* of the process that answered last */
};

/* Its status, the caller's; NULL, and `lost`: no answer. Nothing is written. */
json_t *live_status(struct live *live);
/* Another request of the same node, which is freed. NULL: no answer, and `lost`; or not a good one. */
json_t *live_ask(struct live *live, json_t *request);
/* Why it is lost: "does not run", "runs, but does not answer". */
const char *live_why(const struct live *live);

#endif

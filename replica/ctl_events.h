/* replica/ctl_events.h: what happened at a node between two looks at what it says of itself. Pure. */
#ifndef REPLICA_CTL_EVENTS_H
#define REPLICA_CTL_EVENTS_H
#include <jansson.h>

enum event_weight {
    EVENT_NOTE,      /* nothing to do */
    EVENT_GOOD,      /* what was wrong is so no more */
    EVENT_ATTENTION, /* as in a verdict */
    EVENT_NOT_OK,
};

/* All good during the call only. */
struct event {
    const char *name; /* for programs: "peer-gone"; they are those of the manual */
    enum event_weight weight;
    const char *peer; /* whom it is about; NULL: the node */
    const char *what; /* for people */
};
typedef void event_fn(void *arg, const struct event *event);

/* A node's replies to status and peers. */
struct events_seen {
    const json_t *status, *peers; /* peers NULL: not asked */
};

/* before NULL: what is not as it should be now. */
void events_between(const struct events_seen *before, const struct events_seen *now,
                    event_fn *fn, void *arg);
/* "note", "ok", "attention", "not ok" */
const char *event_weight_name(enum event_weight weight);

#endif

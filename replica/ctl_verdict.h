/* replica/ctl_verdict.h: whether a node is well, and if not, what is wrong and what to do. Pure. */
#ifndef REPLICA_CTL_VERDICT_H
#define REPLICA_CTL_VERDICT_H
#include <jansson.h>
#include <stdint.h>

enum verdict_word {
    VERDICT_OK,
    VERDICT_ATTENTION, /* counting goes on, and somebody should look */
    VERDICT_NOT_OK,    /* callers notice, or counts are in danger */
};

/* What is seen beside the answers. */
struct verdict_around {
    uint64_t free, size; /* bytes on the state directory's file system, for this user */
    uint64_t now_ms;     /* wall clock */
};

/* Of a running node, from its answers to status and peers (NULL where it was not asked). *problems: an array of
 * {"severity": "attention" or "not ok", "what", "do"}, the worst first; the caller's; NULL without memory. */
enum verdict_word verdict_of(const json_t *status, const json_t *peers,
                             const struct verdict_around *around, json_t **problems);
/* "ok", "attention", "not ok" */
const char *verdict_name(enum verdict_word word);

#endif

/* replica/ctl_changes.h: which counters changed since one looked last, and by how much. Counts are read from the log's
 * files; the state process is asked for the totals alone, of all of them at once: so it costs it the same
 * however much is counted. */
#ifndef REPLICA_CTL_CHANGES_H
#define REPLICA_CTL_CHANGES_H
#include "common/name.h"
#include "replica/ctl_history.h"
#include "replica/ctl_live.h"

/* Counters, at which reading pauses behind the block: so that --from long ago takes no more memory than now. */
enum { CHANGES_MOST = 1000 };

struct change {
    char name[NAME_MAX_BYTES + 1];
    uint64_t counts;
    int64_t amount; /* the sum of them, from [-2^62, 2^62] as totals are */
    int64_t total;  /* as it is now; once changes_totals() has asked for it */
    bool known;     /* it has */
    UT_hash_handle hh;
};

/* Zero-initialised but for history.ctl, patterns and count. */
struct changes {
    struct history history; /* .at: what stands before it is in the table, or was */
    char **patterns;      /* as in a shell; a counter that is like any of them is meant */
    int count;            /* of patterns; 0: all are */
    struct change *table; /* in the order in which they changed first */
    bool more;            /* reading paused, and there is more to read */
};

void changes_close(struct changes *changes);

/* Stand at the log's end, as the node's status tells it: what is there already is not meant. */
void changes_skip(struct changes *changes, const json_t *status);
/* Whether reading can go on where it stands; see history_where(). */
enum history_place changes_where(struct changes *changes, const json_t *status);
/* Read up to that end, or until the table is full. Errors are told. */
enum ctl_exit changes_read(struct changes *changes, const json_t *status);
/* Ask for the totals of all in the table. False: no answer. */
bool changes_totals(struct changes *changes, struct live *live);
/* They were told: the table is empty. */
void changes_clear(struct changes *changes);

#endif

/* replica/ctl_history.h: the counts that a log's files hold, one after another, also of a node that runs. */
#ifndef REPLICA_CTL_HISTORY_H
#define REPLICA_CTL_HISTORY_H
#include <stdbool.h>
#include <stdint.h>

#include "replica/block.h"
#include "replica/ctl.h"
#include "replica/disk.h"
#include "replica/streams.h"
#include "replica/wal.h"

/* Which counts are meant. Zero-initialised: all. */
struct history_filter {
    const char *counter, *node;  /* patterns as in a shell; NULL: any */
    const char *tag;             /* a text that stands in the tag; NULL: any */
    bool from, to;               /* since_ms, until_ms are given */
    uint64_t since_ms, until_ms; /* the blocks' stamps: [since, until) */
};

/* All good during the call only. */
struct history_count {
    const struct block *block;
    const struct op *op;
    const struct stream *stream; /* NULL: neither log nor checkpoint know its beginning */
    uint64_t index;              /* of those in its block that the filter lets through */
    bool last;                   /* of those */
    struct wal_mark before, after; /* the places around its block */
};
/* False ends the reading. */
typedef bool history_fn(void *arg, const struct history_count *count);

struct history {
    struct ctl *ctl;
    struct history_filter filter;
    struct streams streams; /* names of nodes, and what their numbers are */
    struct wal_mark at;     /* read up to here; where reading goes on */
    bool begun;             /* `at` says where; else with the oldest kept */
    bool learned; /* all that stands before `at` was looked at for streams' beginnings */
};

/* Zero-initialised but for ctl and filter. What is told in the checkpoints of where streams began is read now.
 * Errors are told. */
enum ctl_exit history_open(struct history *h);
void history_close(struct history *h);
/* Up to the durable end of now. Where fn ends the reading with the last count of a block, it goes on behind that
 * block; else the block comes once more. */
enum ctl_exit history_read(struct history *h, history_fn *fn, void *arg);
/* The same, of a node whose log is known to reach from LSN first to limit. */
enum ctl_exit history_read_to(struct history *h, uint64_t first, uint64_t limit,
                              history_fn *fn, void *arg);

/* Whether reading can go on at h->at, in a log that reaches from LSN first to limit. Looked at once, as `learned`
 * says: set that to false where the log may have become another one. */
enum history_place {
    HISTORY_HERE,
    HISTORY_RELEASED,  /* what stood behind it is no more: the log begins later */
    HISTORY_ELSEWHERE, /* it is a place of another log */
    HISTORY_UNREAD,    /* the log cannot be read: told */
};
enum history_place history_where(struct history *h, uint64_t first, uint64_t limit);

/* Of --counter, --node, --tag, --since and --until. False: one of them makes no sense; told. */
bool history_filter_read(const struct ctl *ctl, struct history_filter *filter);

/* "LSN-CHECK", both in hexadecimal: a place in this node's log, for --from. */
enum { HISTORY_PLACE_SIZE = 36 };
void history_place_format(const struct wal_mark *mark, char out[HISTORY_PLACE_SIZE]);
bool history_place_read(const char *text, struct wal_mark *mark);

/* Up to which LSN the files may be read: a running node writes behind it. 0: nothing stands there. */
enum ctl_exit history_limit(struct ctl *ctl, uint64_t *first, uint64_t *limit);

/* One JSON object, as replica/ctl_json of the manual says. The caller's; NULL without memory. */
json_t *history_json(const struct history_count *count);
/* "retire" or "show", of an op that is no count; NULL of one that is. */
const char *history_op(const struct op *op);
/* "FINAL", "PROVISIONAL", or "" where it is not known. */
const char *history_numbers(const struct history_count *count);
/* The node's name; "?" where it is not known. */
const char *history_node(const struct history_count *count, char out[NODE_NAME_MAX + 1]);

#endif

/* replica/control.h: what tallyctl asks and the state process answers, at IPC_CONTROL_PATH
 * (common/ipc.h). Both are one JSON object each, UTF-8, within the limits below. Numbers are 64-bit
 * integers. A request that cannot be answered gets {"error": "a sentence for people"}.
 *
 *   {"do": "status"}
 *       "running", "version", "pid", "started_ms": of the process; only "version" and "running":
 *       false where the files are read instead
 *       "node", "key", "fingerprint", "cluster" (null before there is one)
 *       "position": {"stream", "number", "hash"} of this node's last block, or null
 *       "forks": of the streams, how many are taken no further, because two signed blocks contradict each other
 *       "doubted": how many may fork: peers hold more of a stream of this node's own than it wrote, or something else
 *       "stuck": why this node does not catch up by itself, so that people have to help: "fork": a peer's checkpoint would take the place
 *       of what is held of a stream that forks, "doubt": of one that may, "log": it lacks what was held here and
 *       the log no longer has; null: it is not stuck
 *       "stuck_stream": of which stream that is; null
 *       "counters", "streams", "blocks", "counts", "commits", "remembered": blocks and counts since
 *       the checkpoint that the process began with, commits since its start
 *       "log": {"first", "end"}: LSNs of what is kept, and "check": the checksum of the frame before "end", 16 hexadecimal
 *       digits, with which it is a wal_mark; "recovered_blocks": read at the start
 *       "checkpoint": {"number", "lsn", "made_ms"} or null; made_ms 0: before the start
 *       "full": new counts are refused for want of disk space; "busy": a file is being made
 *       only from a process: "digest": of the counters, equal where they are; "numbers": "FINAL", or "PROVISIONAL" in a cluster; "joining": none are said yet,
 *       because this node is to catch up first; "peer_listen": "host:port" or null; "peers": {"count",
 *       "connected", "rivals": peers with whose key more than one process is alive, "copied": peers say so of this node's key, "strangers": messages that no peer has sealed, "cut_off": connections closed}; "copies":
 *       {"wanted": nodes that are to hold a count before it is answered, "nodes": that are connected, this one
 *       included, "to_be_had": whether new counts are taken, "waiting": answers, "late": answers that were UNKNOWN
 *       for want of copies, since the start}
 *       "calls": {"open", "taken", "refused", "failed", "resends", "workers_started", "states_started", "counts": asked of
 *       the state process, "answers": how long they took}, since the node was started
 *       "commit_times": how long writing and syncing took, since the node was started. Both times are {"below_us": the
 *       upper bounds of buckets, "number": how many fell into each bucket alone, one more for what is above the last
 *       bound, "sum_us"}
 *   {"do": "peers"}
 *       "peers": [{"name", "address", "reached": its address takes connections, "connected", "behind": blocks
 *       that it lacks, null before it said what it holds, "too_far": the log has no more what it lacks,
 *       "differs": it had another state with the same blocks, "rivals": more than one process with its key is alive, "rival_from": where the one that is not
 *       connected last sent from, or "",
 *       "heard_ms": since its last message, null: never, "sent", "received": blocks, "refused": blocks,
 *       "forged", "stale": messages, "newer": blocks of a newer version, which wait}]
 *   {"do": "get", "name": NAME}
 *       "name", "total"; an error where nothing was ever counted under it
 *   {"do": "counters", "prefix": TEXT, "after": NAME, "limit": N}
 *       "counters": [{"name", "total"}], in the order of their names' bytes; "more": there are some
 *       behind the last one. All three members may be left out.
 *   {"do": "counters", "names": [NAME]}
 *       the same of these, at most CONTROL_NAMES_MAX, in their order; those that do not exist are left out
 *       A counter that is retired has "retired": true, and is listed only where the request has "all": true. Where
 *       many are left out there may be more behind "last", for "after", though fewer than the limit are told.
 *   {"do": "retire", "name": NAME, "undo": BOOLEAN, "reason": TEXT}
 *       leave a counter out of lists until it is counted again, or show it. "undo" and "reason" may be left out.
 *       "name", "total", "retired", "changed": false where it was so already. It is durable then. Only from a process.
 *   {"do": "checkpoint"}
 *       "last": number of the last one now. A new one is made as soon as may be: once status has
 *       a greater number it is on disk; where nothing has changed since the last, status is soon
 *       not "busy" any more. */
#ifndef REPLICA_CONTROL_H
#define REPLICA_CONTROL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/times.h"
#include "replica/crypto.h"
#include "replica/network.h"
#include "replica/node.h"

enum {
    CONTROL_REQUEST_MAX = 64 * 1024, /* bytes */
    CONTROL_REPLY_MAX = 1024 * 1024, /* bytes */
    CONTROL_PAGE_MAX = 1000,         /* counters in one reply */
    CONTROL_NAMES_MAX = 500, /* of which one request asks; they fit, however long */
};

/* What the node's other processes did since it was started: the state process passes it on. */
struct control_calls {
    uint64_t open;           /* now */
    uint64_t taken, refused; /* connections */
    uint64_t failed;         /* ended by an error or a time limit */
    uint64_t resends; /* messages to the state process that it was slow to answer */
    uint64_t workers_started, states_started;
    uint64_t counts;      /* asked of the state process */
    struct times answers; /* of them */
};
struct control_calls_source {
    void (*read)(const void *arg, struct control_calls *calls);
    const void *arg;
};

/* Has the node do it, as node_retire(); on an error the process stops, so that there is no answer to be relied on. */
struct control_retire {
    enum err (*run)(void *arg, struct core_retirement *wanted, enum status *status);
    void *arg;
};

/* What is known beside the node. */
struct control_about {
    const char *node_name;
    struct public_key key;
    bool key_known;
    uint64_t started_ms;               /* wall clock */
    uint64_t now_ms;                   /* as in peer_figures */
    const struct network *network;     /* NULL: none */
    const char *peer_listen;           /* "": none */
    struct control_calls_source calls; /* read NULL: not known */
    struct control_retire retire;      /* run NULL: it cannot */
    const struct times *commits;       /* NULL: not known */
};

/* Answer one request; never fails but for memory (NULL): a request that makes no sense gets a reply
 * that says so. The reply is a NUL-terminated text, to be freed with free(). Nothing may be gathered.
 * Changes nothing but by node_want_checkpoint() and about->retire. */
char *control_answer(struct node *node, const struct control_about *about,
                     const char *request, size_t len);

/* ---- for tallyctl, which asks the same of a state that it has read from files ---- */

struct control_view {
    struct control_about about;
    struct core *core;
    struct node_figures figures;
    struct node *node; /* NULL: read from files */
};

struct json_t;

/* Both are jansson's; the caller owns what comes back. NULL without memory. */
struct json_t *control_do(const struct control_view *view, const struct json_t *request);

/* The key in hexadecimal, and the start of its hash in groups, for people to compare. */
enum { CONTROL_KEY_SIZE = 2 * PUBLIC_KEY_BYTES + 1, CONTROL_FINGERPRINT_SIZE = 40 };
void control_key_format(const struct public_key *key, char hex[CONTROL_KEY_SIZE],
                        char fingerprint[CONTROL_FINGERPRINT_SIZE]);
/* To standard output, with what to write into the other nodes' tally.conf. listen: the node's own
 * peer-listen; "" where it is not known. */
void control_key_print(const struct public_key *key, const char *name,
                       const char *listen);

#endif

/* replica/node.h: one node's state on its disk: does what the core decides, over the disk interface.
 * It recovers, commits groups of counts, makes segments and checkpoints ahead, and copes with a full
 * disk. No clock and no random numbers: the state process brings them, and so does the simulator. */
#ifndef REPLICA_NODE_H
#define REPLICA_NODE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/msg.h"
#include "replica/checkpoint.h"
#include "replica/core.h"
#include "replica/disk.h"
#include "replica/wal.h"

enum {
    /* Who needs a checkpoint is offered one again within this time. */
    NODE_STUCK_MS = 150 * 1000,
    /* Blocks of peers wait so long after a sync, at most, for counts that share the next one with them. */
    NODE_SHARE_MS = 5,
};

/* Half a millisecond's work. */
enum { NODE_SLICE = 2048 };

struct node_time {
    uint64_t mono_ms; /* never goes back; for periods */
    uint64_t wall_ms; /* since 1970; for stamps */
};

struct node_config {
    struct disk *disk;
    struct core_config core;
    uint64_t segment_bytes;
    uint64_t checkpoint_bytes; /* of log between two checkpoints */
    uint64_t checkpoint_ms;    /* between two checkpoints if anything changed */
    size_t slice; /* items of a checkpoint encoded at a time; 0: NODE_SLICE */
    bool
        rejoin; /* it is of a backup: with peers no number is said before it has caught up */
    core_reply_fn
        *reply; /* called from node_commit(), node_count() and node_maintain() */
    void *reply_arg;
    /* For a new stream where this run's own was written to by somebody else. */
    void (*random)(void *to, size_t len);
};

struct node;

/* Recover. config is copied; the disk must outlive the node.
 * Errors: ERR_CORRUPT  damage that is no torn tail: logged, with file and offset and what to do
 *         ERR_VERSION  written by a newer version: logged
 *         ERR_REFUSED  blocks of another cluster: logged
 *         ERR_IO, ERR_MEMORY */
enum err node_open(const struct node_config *config, struct node_time now,
                   struct node **node);
/* Nothing may be under way (node_busy()): a make reads the node's bytes. */
void node_close(struct node *node);

/* One count; its answer comes through reply(), at once or out of node_commit(). May commit what was gathered
 * before. Errors: as node_commit(). */
enum err node_count(struct node *node, const struct msg_count_req *req, uint64_t ticket,
                    struct node_time now);
/* As core_retire(), durable when it returns. Commits what was gathered before. Errors: as node_commit(). */
enum err node_retire(struct node *node, const struct core_retirement *wanted,
                     struct node_time now, enum status *status);
void node_get(const struct node *node, const struct msg_get_req *req,
              struct msg_get_rep *rep);

/* A block from a peer: taken into the log where it continues what is held. It counts as held once
 * node_commit() is through. *taken says what became of it; CORE_GAP also where the log has no room now.
 * Errors: as node_commit(). */
enum err node_receive(struct node *node, const uint8_t *bytes, size_t len, bool covered,
                      enum core_taken *taken);
/* What a peer hands over as proof of a fork: one block or two (forks.h). A single one that contradicts what the log holds
 * of its stream, further back than where it ends, proves it together with that: the log is read for it now and then. *taken: CORE_FORKED
 * where the stream is frozen since; else as core_take_proof(). Errors: as node_commit(). */
enum err node_take_proof(struct node *node, const uint8_t *bytes, size_t len,
                         uint64_t now_ms, enum core_taken *taken);
/* A checkpoint that another node made: its state's encoding, from malloc(). With ERR_OK it is the node's, which goes
 * over to it once it stands in a file of this node's own: out of node_maintain(), which looks at it and may
 * still refuse it. Until then no block is taken from peers. What is answered, and what is counted meanwhile, stays.
 * Errors: ERR_AGAIN    one is being looked at already
 *         ERR_REFUSED  its maker is not trusted, or has not signed it; logged */
enum err node_offer(struct node *node, uint8_t *state, size_t len,
                    const struct checkpoint_seal *seal);
/* The newest checkpoint, for sending. Errors: as checkpoint_source_open(). */
enum err node_source(const struct node *node, struct checkpoint_source *source);
uint64_t node_checkpoint(const struct node *node); /* its number; 0: none */

/* The log, for reading what peers lack; and the LSN from which on they need it: nothing from there on is
 * released. UINT64_MAX: no peer needs any. */
const struct wal *node_wal(const struct node *node);
void node_keep(struct node *node, uint64_t lsn);

/* Somebody waits until the blocks taken since the last sync are held: none of them is put off. */
void node_hurry(struct node *node);

/* Make durable what was gathered, and the blocks taken before it, and answer it, and what waited for copies that are told of by now. ERR_IO, ERR_MEMORY: the process has to stop at once and to
 * recover; nothing that was not answered may be answered any more. Blocks alone may be put off: node_maintain() makes them durable in time. */
enum err node_commit(struct node *node, struct node_time now);
/* The same, and nothing is put off: what peers_set() needs. */
enum err node_flush(struct node *node, struct node_time now);

/* What is not on the way of a count: blocks that were put off, segments, checkpoints (a slice at a time), and answers for which copies come too late. To be called after each commit, when a make
 * has ended, and at the time in *next_ms (node_time.mono_ms) at the latest; UINT64_MAX: none.
 * Nothing may be gathered. Errors: as node_commit(). */
enum err node_maintain(struct node *node, struct node_time now, uint64_t *next_ms);

/* Make a checkpoint as soon as may be, if anything changed since the last. node_busy(): whether that, or any
 * other make, is still under way; false also where the disk is full and the make waits to be tried again. */
void node_want_checkpoint(struct node *node);
bool node_busy(const struct node *node);
/* Whether counts would be refused only because a segment is not ready yet, at the first start or under a
 * load that outruns the disk: whoever can wait does, until node_maintain() has taken it over. False
 * while the disk is full, which may last. */
bool node_short(const struct node *node);

/* For workers to send as `heard`. */
struct position node_position(const struct node *node);
struct core *node_core(struct node *node);

struct node_figures {
    struct core_figures core;
    struct wal_mark end; /* durable end of the log */
    uint64_t first;      /* LSN of the oldest byte kept */
    uint64_t checkpoint; /* number of the last; 0: none */
    uint64_t checkpoint_lsn;
    uint64_t checkpoint_wall_ms; /* when it was made by this run; 0: before */
    uint64_t recovered_blocks;   /* read from the log at the start */
    uint64_t commits;            /* syncs of the log that had something to sync */
    /* Why the last checkpoint of a peer's was refused though this node needs one: people have to help. NODE_GOES_ON again
     * once one was taken, or none was refused for NODE_STUCK_MS. */
    enum node_stuck {
        NODE_GOES_ON,
        NODE_STUCK_FORK, /* it would take the place of what is held of a stream that forks */
        NODE_STUCK_DOUBT, /* likewise, of one that may */
        NODE_STUCK_LOG, /* it lacks what was held here, and the log no longer has that */
    } stuck;
    struct id
        stuck_stream; /* of what it holds that a checkpoint would take the place of, or lacks */
    bool
        full; /* a segment or checkpoint cannot be made, mostly for want of room; counts are refused
                * once what the log has is used up */
};
void node_figures(const struct node *node, struct node_figures *figures);

#endif

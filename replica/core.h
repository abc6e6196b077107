/* replica/core.h: every decision of the state process, without a system call: what is counted, what is
 * answered, what stands in a block, what a recovered block means. Time and randomness come in from
 * outside, so that the simulator can run it.
 *
 * The way of a count: core_count() admits it and gathers it; core_seal() makes a block of what was
 * gathered; the caller appends the block to the log and syncs; core_written() then applies it and
 * hands out the answers. What is not durable is never answered, and never seen by a get. Where more nodes than this
 * one are to hold a count before it is answered, core_answer() does that once they do. */
#ifndef REPLICA_CORE_H
#define REPLICA_CORE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/msg.h"
#include "replica/block.h"
#include "replica/component.h"
#include "replica/crypto.h"

enum {
    /* Streams of one node of which no later one says where they ended; no more are taken from peers. A restart leaves
     * none: only one from an old copy of the disk, or a key in the wrong hands. A HAVE names each of them. */
    CORE_OPEN_STREAMS = 4096,
    CORE_REQUESTS = 1 << 18, /* request ids and answers remembered */
    /* Bytes of proofs of forks that are kept, over all streams; beyond that the log alone has them. */
    CORE_PROOF_BYTES = 4 * 1024 * 1024,
    CORE_UNWRITTEN_MAX =
        1
        << 15, /* counts between two calls of core_written(), at most, and those that wait for
                  * copies; and as many repeats */
};

struct core_config {
    const struct crypto *crypto;
    struct key_pair key;
    char node_name[NODE_NAME_MAX + 1];
    struct id
        cluster; /* of the cluster that is founded where the log names none; random */
    struct id stream; /* of the stream that this run writes; random, never used before */
    size_t items_max; /* names that this node may bring into being */
    size_t
        requests; /* CORE_REQUESTS; smaller in tests; a power of two, above CORE_UNWRITTEN_MAX
                        * or what the caller has unwritten at most */
};

struct core;
struct streams;

/* config is copied. NULL without memory. */
struct core *core_new(const struct core_config *config);
void core_free(struct core *core);

/* ---- recovery: from a checkpoint, then block by block from the log ---- */

/* A record of the log, whose frame was right: a block, the proof of a fork, a stream in doubt, that a checkpoint was
 * adopted, or whether the node joins.
 * Errors: ERR_CORRUPT   it does not continue its stream
 *         ERR_REFUSED   it is of another cluster
 *         ERR_MALFORMED, ERR_VERSION, ERR_TOO_LONG as block_decode(); ERR_MEMORY */
enum err core_replay(struct core *core, const uint8_t *bytes, size_t len);

/* ---- requests ---- */

/* With peers, new counts and gets are STATUS_UNAVAILABLE until core_open(): a node that joins a cluster says no
 * number before it holds what the others held. */
void core_open(struct core *core);
bool core_is_open(const struct core *core);
/* Is this node one that joins, as far as its disk knows? It holds blocks of others then, which need not be all that it
 * should know of. Who has ever counted is a member, and open: peers that come later do not make it wait. */
bool core_joins(const struct core *core);
/* What new numbers are: STATUS_FINAL or STATUS_PROVISIONAL. */
enum status core_status(const struct core *core);
/* The cluster's id where the log names none yet. */
void core_found(struct core *core, const struct id *cluster);
/* How many blocks of a stream are held: its last one's number. 0: not one. */
uint64_t core_held(const struct core *core, const struct id *stream);
/* How many blocks are held, over all streams, above what have() says of each. */
uint64_t core_lacks(const struct core *core,
                    uint64_t (*have)(const void *arg, const struct id *stream),
                    const void *arg);

enum core_verdict {
    CORE_ANSWERED,   /* *rep is the answer: refused, or known and durable */
    CORE_WAITS,      /* core_written() or core_answer() will answer, under this ticket */
    CORE_SEAL_FIRST, /* the block is full: seal, write, then ask again */
};

/* room: bytes that a block may have now, given the log's space; 0 with a full disk: then what is known is
 * answered, and what is new is STATUS_UNAVAILABLE. ticket: the caller's, given back with the answer. */
enum core_verdict core_count(struct core *core, const struct msg_count_req *req,
                             uint64_t ticket, size_t room, struct msg_count_rep *rep);
/* Leave a counter out of lists, until it is counted again, or show it. */
struct core_retirement {
    struct id id; /* random */
    bool show;    /* undo it */
    uint8_t name_len, reason_len;
    const char *name,
        *reason; /* the caller's; valid as name_valid() and tag_valid() have it */
};
/* Nothing may be gathered. CORE_WAITS: it is gathered, and holds once core_written() is through. CORE_ANSWERED: it is so
 * already, with core_status(); or it is refused: STATUS_ERROR where there is no such counter, or was retired 2^31
 * times; STATUS_UNAVAILABLE. */
enum core_verdict core_retire(struct core *core, const struct core_retirement *wanted,
                              size_t room, enum status *status);
void core_get(const struct core *core, const struct msg_get_req *req,
              struct msg_get_rep *rep);

/* ---- blocks from peers ---- */

enum core_taken {
    CORE_TAKEN, /* it continues its stream: append it to the log; core_written() applies it */
    CORE_FORKED, /* it contradicts what is held: append it as proof. Its stream is frozen */
    CORE_HELD,   /* held or taken already */
    CORE_GAP,    /* what comes before it is not here: the next HAVE says so */
    CORE_FROZEN, /* of a stream that forks */
    CORE_NEWER, /* of a format or with an op unknown here: its stream waits for a newer version */
    CORE_REFUSED, /* no block, of another cluster, by a key that is not trusted or has CORE_OPEN_STREAMS, or
                   * wrongly signed */
    CORE_FAILED, /* no memory: stop */
};

/* Whose first blocks are taken, beside this node's own: `count` keys, copied. With any peer, new numbers are
 * PROVISIONAL, and stay so when it is gone: core_stream_outdated() is to be asked afterwards. Streams that are held
 * already go on. ERR_MEMORY. */
enum err core_trust(struct core *core, const struct public_key *keys, size_t count);

/* A block that a peer sent. Nothing is believed but its signature. With CORE_TAKEN and CORE_FORKED *record is
 * what to append, the core's, good until core_written(): it becomes part of the state like the blocks
 * made here. bytes need not live on. */
struct core_record {
    const uint8_t *bytes;
    size_t len;
};
enum core_taken core_receive(struct core *core, const uint8_t *bytes, size_t len,
                             bool covered, struct core_record *record);
/* How many of these blocks, which came together, from the first on, are one run of a stream whose last one is signed by
 * its node: each block names the one before it by a hash over that one's signature too, so this signature covers them all. 0:
 * each has to be looked at by itself. What a node signed over an invalid signature of its own is found by `tallyctl verify`. */
unsigned core_covered(const struct core *core, const struct core_record *blocks,
                      unsigned count);

/* What a peer hands over as proof of a fork: two signed blocks that contradict each other, each with a u32 length before
 * it (forks.h). CORE_FORKED: append both records, in their order; the stream is frozen. CORE_GAP: more of the stream
 * comes in, or nothing of it is held: look again when it is said again. CORE_FROZEN: known. CORE_REFUSED: it proves
 * nothing. bytes need not live on. */
enum core_taken core_take_proof(struct core *core, const uint8_t *bytes, size_t len,
                                struct core_record record[2]);
/* Is there a stream of whose proof only one block is kept? */
bool core_lacks_proof(const struct core *core);
/* A record of the log, which may be the other one. ERR_MEMORY. */
enum err core_find_proof(struct core *core, const uint8_t *bytes, size_t len);

/* This run's stream was written to by somebody else (a resumed snapshot, a second copy), or forks: it must not be
 * continued. Give the core a new one, random, at once. Nothing may be gathered. */
bool core_stream_lost(const struct core *core);
/* This run's stream says that its numbers are FINAL, and they no longer are: likewise. */
bool core_stream_outdated(const struct core *core);
void core_new_stream(struct core *core, const struct id *stream);

/* What is held, as HAVE says it: per stream its id [16], u64 number, and the hash [32] of that block. So that it does
 * not grow with every restart of every node, a stream is left out that ends where the one after it says, if there is
 * only one such, and the receiver knows() a block of it. One that is named so, and not held at all, is there with
 * number 0. Returns the bytes written, at most size; *more where some did not fit. */
enum { CORE_HAVE_ITEM = ID_BYTES + 8 + HASH_BYTES };
typedef bool core_knows_fn(const void *arg, const struct id *stream);
size_t core_have(const struct core *core, core_knows_fn *knows, const void *arg,
                 uint8_t *out, size_t size, bool *more);
/* Where the same node's stream before this one ended, as its first block says: what a HAVE that names the one may
 * leave out of the other. NULL: there is none, or it is not known here. Good until the next block. */
const struct stream_end *core_before(const struct core *core, const struct id *stream);
/* A digest of the replicated state: equal where the same blocks are applied. */
void core_digest(struct core *core, struct hash *digest);
/* One item of a peer's HAVE. true: it contradicts what is held, so the stream forks; the peer needs to see our block
 * for proof. */
bool core_heard(struct core *core, const struct stream_end *theirs);
/* Is the stream frozen here? The ids [16] of all such, as HAVE names them; returns the bytes written. */
bool core_is_frozen(const struct core *core, const struct id *stream);
size_t core_frozen(const struct core *core, uint8_t *out, size_t size, bool *more);
/* A peer has frozen the stream, or holds more of it than this node, or (other) another block under the same number. If it
 * is this run's, core_stream_lost(); and what is held of it is in doubt: what peers hold goes on from it, which blocks will
 * show, or was written beside it. Not where a peer has said before that it holds just what is held here: then another node
 * has that, too, and one that holds more of it has got it from there or from this node. */
void core_heard_lost(struct core *core, const struct id *stream, bool other);
/* Is this run's stream in doubt? Then the log is to say so, for the next run. */
bool core_stream_doubted(const struct core *core);
/* The streams of a node's key that no later one names as ended. */
size_t core_open_streams(const struct core *core, const struct public_key *key);
/* Does the stream bear this node's key? Unlike the list of those that it knows as its own, that never changes. */
bool core_bears_own_key(const struct core *core, const struct id *stream);

/* ---- commit ---- */

/* Bytes that a block of what is gathered takes at most; 0: nothing is. */
size_t core_gathered_bytes(const struct core *core);
/* Whether anything is gathered; whether anything is sealed or taken and waits for core_written(). */
bool core_gathered(const struct core *core);
bool core_unwritten(const struct core *core);
/* Make a block of what is gathered. *bytes is the core's, good until the next core_seal() or
 * core_written(). ERR_MEMORY: stop. */
enum err core_seal(struct core *core, uint64_t wall_ms, const uint8_t **bytes,
                   size_t *len);
/* All sealed blocks are durable: apply them, and call reply() for each count that waited for no more than that.
 * ERR_MEMORY: stop, and recover. */
typedef void core_reply_fn(void *arg, uint64_t ticket, const struct msg_count_rep *rep);
enum err core_written(struct core *core, core_reply_fn *reply, void *arg);

/* ---- copies on other nodes ----
 *
 * With copies above 1 a count is answered once so many nodes hold its block durably, this one included, as they say
 * in the present conversation with each. Where they do not within wait_ms of the block being durable here, it
 * is answered STATUS_UNKNOWN: it is counted, and is lost if this disk is. A repeat is answered under the same
 * conditions, with a wait of its own. New counts are STATUS_UNAVAILABLE, and not counted, while fewer nodes are
 * connected; and from the first UNKNOWN on until enough nodes hold all of this run's blocks: else every caller
 * would be counted, and told that nobody knows. */

/* From now on, for those who wait, too. 1: this node will do. */
void core_set_copies(struct core *core, unsigned copies, uint64_t wait_ms);
unsigned core_copies(const struct core *core);
/* How many nodes are there to hold copies, this one included. At the start it is 1. */
void core_set_nodes(struct core *core, unsigned nodes);
/* core_copies() nodes hold this stream, of this node's own, up to block `number`, this one included; that may be less
 * than before, since a wiped peer is believed. Each block counts by the last word on its stream. */
void core_copied(struct core *core, const struct id *stream, uint64_t number);
/* So late is it now, by any clock that only grows, for core_count(), core_written() and core_answer(). */
void core_time(struct core *core, uint64_t now_ms);
/* Give the answers that can be given now, and those that have waited long enough. */
void core_answer(struct core *core, core_reply_fn *reply, void *arg);
/* When core_answer() has something to do though nothing is told; UINT64_MAX: never. */
uint64_t core_due(const struct core *core);
/* Whether a new count would be taken, as far as copies go. */
bool core_copies_to_be_had(const struct core *core);

/* Where this node's own history ends, for workers to send as `heard`. */
struct position core_position(const struct core *core);

/* ---- checkpoints ---- */

/* The replicated state in its canonical encoding, and this node's own memory. Nothing may be gathered
 * or unwritten. w->full where it does not fit into core_encoded_max() bytes, or without memory. */
size_t core_encoded_max(const struct core *core);
void core_encode_state(struct core *core, struct writer *w);
void core_encode_own(struct core *core, struct writer *w);
/* Into a new core. ERR_MALFORMED, ERR_VERSION, ERR_MEMORY. */
enum err core_decode_state(struct core *core, struct reader *r);
enum err core_decode_own(struct core *core, struct reader *r);

/* The same encodings as of the moment of core_snapshot_new(), in pieces, so that a million counters keep nobody waiting:
 * between two pieces everything may go on but core_encode_own(), core_take_over() and a second snapshot. A counter that
 * changes before the snapshot has come to it is copied first. At the beginning nothing may be gathered or
 * unwritten; that takes the time of copying the requests. */
struct core_snapshot;
/* ERR_MEMORY. Free it before the core. */
enum err core_snapshot_new(struct core *core, struct core_snapshot **snapshot);
void core_snapshot_free(struct core_snapshot *s);
/* At most so many items or requests more, into as many bytes in all as core_encoded_max() said at the beginning. True:
 * all of it is there. First the whole state, then the own part. */
bool core_snapshot_state(struct core_snapshot *s, struct writer *w, size_t items);
bool core_snapshot_own(struct core_snapshot *s, struct writer *w, size_t items);
/* Whose own part that was. Another node's, as where a backup was restored under a new key, is forgotten: its streams
 * are held and are not this node's, and what was asked of it was not asked here. A core without a key only looks.
 * ERR_MEMORY. */
enum err core_own_of(struct core *core, const struct public_key *node);

/* ---- going on from another node's checkpoint ---- */

/* Is this the key of this node, or of one that core_trust() named? */
bool core_trusts(const struct core *core, const struct public_key *key);

/* A new core that is to take the place of an old one, in three steps. The first: the state that another node
 * encoded. core_stream_lost(new) says then that it holds more of this run's stream than was written here:
 * give the old one a new stream before the third step.
 * Errors: ERR_REFUSED  of another cluster
 *         ERR_MALFORMED, ERR_VERSION, ERR_MEMORY */
enum err core_adopt(struct core *core, const struct core *old, struct reader *state);
/* The second: every record of this node's log, from the oldest kept. What lies above the state is applied.
 * Errors: ERR_NOT_FOUND  what stood between the state and this block is gone from the log
 *         ERR_CORRUPT    it contradicts the state: its stream forks
 *         ERR_MALFORMED, ERR_VERSION, ERR_MEMORY */
enum err core_adopt_record(struct core *core, const uint8_t *bytes, size_t len);
/* The third: what is this node's own: its streams in their order, the requests remembered, the frozen marks. Nothing
 * may be gathered or unwritten in the old one, here and below.
 * Errors: ERR_NOT_FOUND  the old one holds blocks that the new one lacks: they are gone from the log
 *         ERR_CORRUPT    a stream ends elsewhere that forks, or with the same number and another hash
 *         ERR_AGAIN      a stream ends later of which what is held here is in doubt
 *         ERR_EXISTS     the new one holds nothing that the old one lacks
 *         ERR_MEMORY */
enum err core_adopt_own(struct core *core, const struct core *old);
/* Of which stream the last ERR_NOT_FOUND, ERR_CORRUPT or ERR_AGAIN of these steps was. */
const struct id *core_adopt_stopped(const struct core *core);
/* Then, after core_replay() of what the old one has written since: this run goes on in the new one. The old one is
 * only good for core_free() afterwards. */
void core_take_over(struct core *core, struct core *old);

/* ---- looking ---- */

struct core_figures {
    struct id cluster, stream;
    struct stream_end end; /* of this node's own history */
    uint64_t forks;        /* streams that are frozen */
    uint64_t doubted;      /* and those in doubt (core_heard_lost()) */
    uint64_t streams, items, blocks,
        ops; /* blocks, ops: applied since the start, recovery included */
    size_t requests;
    unsigned copies, nodes; /* as they were set */
    size_t waiting;         /* answers that wait for copies */
    uint64_t late; /* how often they came too late: STATUS_UNKNOWN, since the start */
};
void core_figures(const struct core *core, struct core_figures *figures);
/* Good until the next block. */
const struct streams *core_streams(const struct core *core);
/* The first item of a component, in the order of keys, that is not below key; past: that is above it. component->next()
 * goes on from there. NULL: there is none. */
struct item *core_item_from(struct core *core, const struct component *component,
                            const char *key, size_t key_len, bool past);

#endif

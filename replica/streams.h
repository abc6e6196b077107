/* replica/streams.h: the streams of blocks that are held, and where each ends. No I/O. */
#ifndef REPLICA_STREAMS_H
#define REPLICA_STREAMS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A table that cannot grow must not end the process behind our back: no memory is reported. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "common/byte.h"
#include "common/err.h"
#include "replica/block.h"
#include "replica/forks.h"

struct stream {
    struct stream_end end; /* the last block held: durable, applied */
    struct stream_end
        taken; /* the last block that was taken; it may not be durable yet */
    /* What its first block says. */
    struct public_key key;    /* of the node that writes it */
    struct stream_end before; /* of the same node's stream before, as its disk knew it */
    bool provisional;         /* what its numbers are, or FINAL */
    /* The stream that names this one as the one before it. NULL: none is here. */
    struct stream *after;
    bool contested; /* two do: an old copy was restored, or there are two copies */
    /* This node's streams are counted from 1 in the order in which they began; others have 0. */
    uint64_t own;
    bool
        frozen; /* it forks: two signed blocks contradict each other, and no more is taken of it */
    struct fork_proof proof; /* of that, as far as it is to be had */
    /* It forks, as a proof told when this was the last block taken: it is frozen once no more of it comes. 0: nobody
     * has said so. */
    uint64_t told;
    /* It was this node's present run's, and a peer holds more of it than was written here, or something else, or says that
     * it forks; and it is not known whether what peers hold goes on from what is held here. */
    bool doubted;
    /* The last block of which a peer has said, in this run, that it holds just the same: the stream up to there is not in
     * this node's hands alone. 0: none. */
    uint64_t known;
    /* Of this node's own: up to which block enough other nodes hold it, as they say at present; and how many repeats
     * wait for that. See core_copied(). */
    uint64_t copied;
    size_t again;
    uint8_t name_len;
    char name[NODE_NAME_MAX];
    UT_hash_handle hh;
};

struct streams {
    struct stream *table; /* by id */
    size_t count;
    struct stream **own; /* own[i]->own == i + 1 */
    size_t own_count, own_size;
    bool provisional;   /* one of them is */
    size_t proof_bytes; /* of all */
};

/* Zero-initialised is empty. */
void streams_clear(struct streams *s);
struct stream *streams_find(const struct streams *s, const struct id *id);
/* A new one, with no block yet. own: it is this node's. NULL without memory. */
struct stream *streams_add(struct streams *s, const struct id *id,
                           const struct block_origin *origin, bool own);
/* Set what is kept as proof that the stream forks; it is the stream's from now on, and what it had is freed. */
void streams_set_proof(struct streams *s, struct stream *stream,
                       struct fork_proof *proof);
/* Does the stream end just where the one after it says? Then that one tells of both. */
bool stream_is_named(const struct stream *stream);
/* Which streams are this node's is told anew: first none of them, then one after another, in the order in which
 * they were written. False without memory. */
void streams_forget_own(struct streams *s);
bool streams_add_own(struct streams *s, struct stream *stream);
/* This node's last stream, or NULL. */
const struct stream *streams_last_own(const struct streams *s);

/* Canonical: in the order of their ids. What is this node's own is not part of it: streams_encode_own()
 * has that. Decoding is into an empty table. ERR_MALFORMED, ERR_MEMORY. */
size_t streams_encoded_max(const struct streams *s);
void streams_encode(struct streams *s, struct writer *w);
enum err streams_decode(struct streams *s, struct reader *r);
void streams_encode_own(const struct streams *s, struct writer *w);
enum err streams_decode_own(struct streams *s, struct reader *r);

#endif

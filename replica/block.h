/* replica/block.h: a block: one group commit of one node, chained by hash and signed. The bytes are
 * in FORMAT.md. No I/O, no allocation. */
#ifndef REPLICA_BLOCK_H
#define REPLICA_BLOCK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/byte.h"
#include "common/err.h"
#include "common/id.h"
#include "common/name.h"
#include "replica/crypto.h"

enum {
    BLOCK_FORMAT = 2, /* that is written; those before it are read for ever */
    /* In this one a block's hash, which the next one names, was not over its signature. */
    BLOCK_FORMAT_SIGNED_APART = 1,
    BLOCK_MAX = 256 * 1024, /* bytes of an encoded block, signature included */
    /* A record of the log that begins with this byte, or a greater one, is no block to be applied. */
    BLOCK_OTHER_RECORDS = 0xfc,
    /* One that begins with this byte: behind it stands a block that
     * contradicts the one held in its place, or the one of the record before, kept as proof that its stream forks. */
    BLOCK_PROOF = 0xff,
    /* One that begins with this byte says that another node's checkpoint was taken over here: behind it stand that
     * one's state hash, maker and signature. In the log before it blocks may be missing that are held behind it. */
    BLOCK_ADOPTED = 0xfe,
    BLOCK_ADOPTED_BYTES = 1 + HASH_BYTES + PUBLIC_KEY_BYTES + SIGNATURE_BYTES,
    /* One that begins with this byte says that a stream of this node's own was left since a peer held more of it
     * than was written here: behind it stands the stream's id. */
    BLOCK_DOUBT = 0xfd,
    BLOCK_DOUBT_BYTES = 1 + ID_BYTES,
    /* One that begins with this byte says whether the node joins a cluster from here on, 1, or has caught up, 0. What is
     * taken from others while it joins stands behind the 1, and what it counts itself afterwards behind the 0. */
    BLOCK_JOINS = 0xfc,
    BLOCK_JOINS_BYTES = 2,
    NODE_NAME_MAX = 32, /* bytes of a node's name */
    /* What a block takes at most beside its groups and ops. */
    BLOCK_FIXED_MAX = 1 + 1 + ID_BYTES + 10 + HASH_BYTES + 10 + ID_BYTES +
                      PUBLIC_KEY_BYTES + 1 + NODE_NAME_MAX + ID_BYTES + 10 + HASH_BYTES +
                      1 + 10 + SIGNATURE_BYTES,
    BLOCK_GROUP_MAX = 1 + 1 + NAME_MAX_BYTES + 10 + 10, /* a group, without its ops */
    BLOCK_OP_MAX = 1 + ID_BYTES + 10 + 1 + TAG_MAX_BYTES,
};

/* What an operation does. Numbers in the log: never given out twice. */
enum op_kind {
    OP_ADD = 1, /* counter: add `value`, of at most +-2^31; text: a tag or a reason */
    /* counter: leave it out of lists as long as its total is what it was before this op; or show it again. value: of
     * such ops on this counter the how manieth this one's node saw, from 1; text: a reason. The total stays. */
    OP_RETIRE = 2,
    OP_SHOW = 3,
};

/* One operation. Strings point into the block. */
struct op {
    uint8_t component;
    uint8_t kind;
    uint8_t key_len, text_len;
    const char *key; /* what it works on: a counter's name */
    const char *text;
    struct id id; /* of the request that asked for it */
    int64_t value;
    int64_t before; /* the total before this op, as the block's node saw it */
};
/* What it adds to the total. */
int64_t op_amount(const struct op *op);

/* Where a stream ends: the last block's number and hash. Number 0: no block, hash all zero. */
struct stream_end {
    struct position position;
    struct hash hash;
};

/* What only the first block of a stream says. */
struct block_origin {
    struct id cluster;
    struct public_key key;
    uint8_t name_len;
    char name[NODE_NAME_MAX];
    struct stream_end
        before; /* the end of the same node's previous stream as its disk knew it */
    /* What the stream's numbers are. FINAL: the node had never had a peer, so its order is the cluster's. */
    bool provisional;
};

struct block {
    uint8_t format;
    struct id stream;
    uint64_t number;            /* from 1 */
    struct hash previous;       /* of the stream's previous block; zero in the first */
    uint64_t stamp_ms;          /* the node's wall clock, milliseconds since 1970 */
    struct block_origin origin; /* where number is 1 */
    uint64_t groups;
    const uint8_t *ops; /* the groups, one after another */
    size_t ops_len;
    const uint8_t *signature;
    struct hash
        digest; /* over all bytes but the signature, which signs it; computed, not stored */
    struct hash
        hash; /* over digest and signature, for the next block; of format 1 the digest */
};

/* Take a block apart and look at every byte of it but the signature. *block points into bytes.
 * Errors: ERR_MALFORMED  not the one encoding of a block
 *         ERR_TOO_LONG   above BLOCK_MAX
 *         ERR_VERSION    a format, component or operation unknown here: written by a newer version */
enum err block_decode(const uint8_t *bytes, size_t len, const struct crypto *crypto,
                      struct block *block);

/* Whether the block's own signature is by this key. */
bool block_signed(const struct block *block, const struct crypto *crypto,
                  const struct public_key *key);
/* Whether `next` is the block behind this one, so that its signature covers this one, too, with its signature. */
bool block_covered(const struct block *block, const struct block *next);

/* Only whose block it is and which: for bytes that were looked at before. False: no block. */
bool block_peek(const uint8_t *bytes, size_t len, struct position *position);

/* The ops of a decoded block in their order:
 *     struct block_cursor c = block_ops(&block);
 *     while (block_next_op(&c, &op)) ... */
struct block_cursor {
    struct reader reader;
    uint64_t groups, ops; /* still to come: groups, and ops of the present group */
    struct op op;
};
struct block_cursor block_ops(const struct block *block);
bool block_next_op(struct block_cursor *cursor, struct op *op);

/* Writing, in this order: head, then per group block_put_group and its block_put_ops, then seal. */
void block_put_head(struct writer *w, const struct block *head);
void block_put_group(struct writer *w, uint8_t component, const char *key,
                     uint8_t key_len, int64_t before, uint64_t ops);
void block_put_op(struct writer *w, uint8_t kind, const struct id *id, int64_t value,
                  const char *text, uint8_t text_len);
/* Signs what is in w and appends the signature; *hash is what the next block names as its previous one. */
void block_seal(struct writer *w, const struct crypto *crypto, const struct key_pair *key,
                struct hash *hash);

#endif

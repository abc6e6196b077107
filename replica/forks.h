/* replica/forks.h: what proves that a stream forks, and what two blocks tell of one. No I/O, no clock.
 *
 * A stream has one content. Two blocks that its node has signed and that cannot both stand in it prove that somebody
 * else writes it, too: a resumed snapshot of its memory, or its key in other hands. What a node may conclude:
 *
 *   BLOCKS   A block that does not go on from the one held here, or stands in its place with another hash: this node holds
 *            one half of the proof, the block is the other. The stream is frozen.
 *   HAVE     An equal number with another hash is the same, but only the peer's word, which freezes nothing: each of the
 *            two sends its own block, which freezes the stream at the other. Unequal numbers tell nothing: whoever
 *            holds more sends what follows the other's last block, and that goes on from it, or does not.
 *   FORK     Two blocks that contradict each other are the whole proof, whatever is held here: whoever has one hands it to
 *            every peer that holds blocks of the stream and does not name it as frozen.
 *   CHECKPOINT  It tells where streams end, not how they came there: one that stands at a later block may have gone
 *            another way. So no checkpoint takes the place of what is held of a stream that is known to fork, unless the
 *            proof shows that both ways go on from there: it is refused, and people have to help.
 *   DOUBT    A peer's word that somebody else writes a node's present stream is enough to leave it, and until blocks show that
 *            what peers hold goes on from what is held here, no checkpoint takes the place of that either. But what a peer
 *            has said to hold just so, in this run, is not in this node's hands alone: a snapshot that is resumed, and had
 *            nothing of its own since, loses nothing, and need not wait for people.
 *
 * The proof outlives the log: it stays with the node's own part of its checkpoints. */
#ifndef REPLICA_FORKS_H
#define REPLICA_FORKS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "replica/block.h"
#include "replica/crypto.h"

enum {
    /* Bytes of a proof: two blocks, each with a u32 length before it. */
    FORK_PROOF_MAX = 2 * (4 + BLOCK_MAX),
};

/* One block that contradicts what was held, or two that contradict each other. Zero-initialised: none. */
struct fork_proof {
    uint8_t *bytes; /* from malloc() */
    size_t len;
    unsigned blocks;
};

/* One of its blocks: where it stands, and what it says. */
struct fork_half {
    const uint8_t *bytes; /* in the proof */
    size_t len;
    struct block block;
};

/* Can they not both stand in one stream? */
bool fork_contradicts(const struct block *a, const struct block *b);

/* Take apart what somebody else says is a proof. Signatures are not looked at.
 * Errors: ERR_MALFORMED  neither one block nor two that contradict each other, each below BLOCK_MAX bytes
 *         ERR_VERSION    as block_decode() */
enum err fork_read(const uint8_t *bytes, size_t len, const struct crypto *crypto,
                   struct fork_half half[2], unsigned *count);

/* Add a block whose signature is right. Two that contradict each other stay; of two that do not the newer one does.
 * ERR_MEMORY. */
enum err fork_add(struct fork_proof *proof, const struct crypto *crypto,
                  const uint8_t *bytes, size_t len);
enum err fork_copy(struct fork_proof *to, const struct fork_proof *from); /* ERR_MEMORY */
void fork_clear(struct fork_proof *proof);

#endif

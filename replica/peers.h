/* replica/peers.h: what goes to and comes from the other nodes of the cluster: which blocks each one lacks, and
 * when it is told. Reads the log through the node; the network, the clock and random numbers come in
 * from outside, so that the simulator can run a cluster.
 *
 * A peer says what it holds (HAVE: its whole vector, the newest replaces all before it, also downwards), and
 * whoever sees that it lacks blocks sends them (BLOCKS). The log is the queue: per peer there is a place up to
 * which it was read, and a bounded number of blocks that are sent and not yet acknowledged; what is lost is
 * read and sent again. A node's own blocks are sent as soon as they are durable; those of others only when the
 * peer still lacks them PEERS_RELAY_MS later, because mostly it has them from their maker.
 *
 * A peer that lacks blocks which this node's log no longer has is offered the newest checkpoint (transfer.h); what
 * is above that is kept in the log until the peer has gone on. An offer is taken by whoever does not get on
 * without: what it lacks of that peer's blocks has not become less for PEERS_PATIENCE_MS, or it holds
 * nothing at all. One checkpoint is fetched at a time, from one peer.
 *
 * Payloads, integers little-endian:
 *   HAVE    digest of the state [32], u8: 1 while the sender has not caught up itself, u32 count; per stream: id [16], u64 number, hash [32] of that block. A stream that
 *           is not in it is held at 0, or up to where the one after it says (core_have()). Behind them the ids [16]
 *           of streams that fork, of which the sender takes no more
 *   BLOCKS  per block, at most PEERS_BLOCKS_MAX: u32 length, the block's bytes
 *   BLOCKS_AWAITED  likewise, and callers wait until the receiver holds them: it syncs them and says so at once
 *   CHECKPOINT, WANT  transfer.h
 *   FORK    the proof that a stream forks (forks.h): per block, two or one: u32 length, the block's bytes. To whoever holds
 *           blocks of the stream and does not name it as one that forks, every PEERS_PROOF_MS
 *   RIVALS  nothing: another process with the receiver's key is alive (rivals.h) */
#ifndef REPLICA_PEERS_H
#define REPLICA_PEERS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "replica/link.h"
#include "replica/node.h"
#include "replica/transfer.h"

enum {
    PEERS_MAX = 16,
    PEERS_IDLE_MS = 1000, /* between two HAVEs when nothing happens */
    /* Between two HAVEs while blocks come that nobody waits for; sooner for each so many bytes of them. */
    PEERS_HAVE_MS = 20,
    PEERS_HAVE_BYTES = 16 * 1024,
    PEERS_SILENT_MS = 5000, /* nothing heard for so long: not connected */
    /* What a peer does not take though it was sent twice and the peer is heard: sent again after so long, and twice as long
     * each time, up to that. */
    PEERS_RETRY_MS = 1000,
    PEERS_RETRY_MAX_MS = 8000,
    PEERS_RELAY_MS = 500,
    PEERS_WHENCE = 64, /* bytes of an address as text, its end included */
    /* A message costs both ends several thread switches, and the receiver a sync, whatever it holds. So the next BLOCKS to a
     * peer goes out this long after the last one, at the soonest, unless more than PEERS_GATHER_BYTES of log wait. A
     * lone block never waits; with copies, none does that is alone under way. */
    PEERS_GATHER_MS = 8,
    PEERS_GATHER_BYTES = 64 * 1024,
    /* Blocks of one message, at most: they are taken in one go, while callers wait; at some 50 us each where they do not
     * follow one another, so that each signature has to be verified (core_covered()). */
    PEERS_BLOCKS_MAX = 64,
    PEERS_PATIENCE_MS = 3000,
    PEERS_PROOF_MS =
        5000, /* between two blocks, or proofs, sent to a peer to show it that a stream forks */
    PEERS_RENEW_MS =
        10000, /* between two streams begun because a peer says that it has frozen the last */
    PEERS_FETCH_MS =
        60000, /* a checkpoint fetched in vain, or not at all: the next is begun so much later */
};

struct peer_config {
    char name[NODE_NAME_MAX + 1];
    struct public_key key;
};

struct peers_config {
    const struct crypto *crypto;
    struct node *node;
    struct key_pair key;
    uint64_t
        join_wait_ms; /* a node without any block waits so long to catch up with a peer that has some, or to
                       * hear of all that they have none, before it counts */
    /* Send one sealed message to the peer of this index, of the list given last. It may be lost. */
    void (*send)(void *arg, size_t peer, const uint8_t *bytes, size_t len);
    void *arg;
    void (*random)(void *to, size_t len);
    /* Where the message that is being received comes from, for people, within PEERS_WHENCE bytes. NULL: not known. */
    void (*whence)(void *arg, char *out);
};

struct peers;

/* config is copied. NULL without memory. */
struct peers *peers_new(const struct peers_config *config);
void peers_free(struct peers *p);

/* The peers from now on; those that stay, by key, keep their conversation. Nothing may be gathered or unwritten. A cluster that begins with
 * them, because none of them holds a block, is named by all their keys: so they need not agree on who founds it.
 * Errors: ERR_RANGE      more than PEERS_MAX
 *         ERR_MALFORMED  a key that is none; *bad is its index
 *         ERR_EXISTS     a key twice, or this node's own; likewise
 *         ERR_MEMORY */
enum err peers_set(struct peers *p, const struct peer_config *list, size_t count,
                   size_t *bad);

/* Keys of nodes that were in the cluster and are no more: their blocks are taken from whoever passes them on,
 * and nobody else is expected behind these keys. They replace those given before. This node's own does no harm.
 * Errors: ERR_RANGE (more than PEERS_MAX), ERR_MEMORY. */
enum err peers_former(struct peers *p, const struct public_key *keys, size_t count);

/* A message from the network, opened in place. Blocks in it are given to node_receive(): the caller commits.
 * *sender: who has sealed it, for whoever has a connection to close.
 * Errors: as node_commit(). */
enum peers_sender {
    PEERS_PEER,
    PEERS_STRANGER, /* it bears no peer's name; nothing was done with it */
    PEERS_FORGED,   /* it bears one, wrongly; likewise */
};
enum err peers_receive(struct peers *p, uint8_t *bytes, size_t len, uint64_t now_ms,
                       enum peers_sender *sender);

/* There is a way to this peer again: greet it in the next turn, rather than some time later. */
void peers_reached(struct peers *p, size_t peer);

/* After each commit, and at *next_ms: send what is due. Errors: ERR_IO, ERR_CORRUPT from reading the log,
 * logged: the peer concerned gets no blocks. Never fatal. */
void peers_turn(struct peers *p, uint64_t now_ms, uint64_t *next_ms);

/* For people. */
struct peer_figures {
    char name[NODE_NAME_MAX + 1];
    bool connected;
    bool differs; /* it held the same blocks and had another state: an alarm */
    bool rivals;  /* more than one process with its key is alive: an alarm */
    char rival_from
        [PEERS_WHENCE]; /* where the one that is not connected last sent from; "" */
    bool
        too_far; /* it lacks what this node's log no longer has, and is offered a checkpoint */
    uint64_t fetched,
        fetch_bytes;   /* of a checkpoint that is fetched from it; 0 of 0: none is */
    uint64_t heard_ms; /* when last; 0: never */
    bool known;        /* it has said in this conversation what it holds */
    uint64_t lacks;    /* blocks that it does not hold yet, as its last HAVE says */
    uint64_t sent, received, forged, stale, refused;
    uint64_t newer; /* blocks of a newer version than this one knows; they wait */
};
/* Peers say that more than one process with this node's key is alive: an alarm. */
bool peers_copied(const struct peers *p);
size_t peers_count(const struct peers *p);
void peers_figures(const struct peers *p, size_t index, struct peer_figures *figures);

#endif

/* replica/link.h: one end of the conversation with one peer: seals what goes out, opens what comes in, and lets
 * nothing through that is forged, reflected, replayed or meant for somebody else. No I/O, no clock, no
 * random numbers: they come in with the call. What travels may be lost, repeated and reordered.
 *
 * A sealed message is
 *     hint [8]      the first bytes of the sender's public key: whose box to open
 *     nonce [24]    the run [16] of the sender's link, then a number that grows with each message of that run
 *     box           crypto_box (X25519, XSalsa20, Poly1305) of:
 *         sender's public key [32], type u8, echo [16], payload
 * Both ends share one box key, so the sender's key inside tells a message from its own reflection. The echo is the
 * receiver's latest challenge: who knows it has heard from the receiver since that was drawn.
 *
 * HELLO carries the sender's challenge [16], and a u8: 1 if the receiver's run is its present one. A run that is not
 * the present one becomes it only by a HELLO that echoes our challenge, which is then drawn anew: so nothing
 * recorded earlier can be played back. Everything else must be of the present run, newer than the last, and echo our
 * challenge.
 *
 * Two processes with the peer's key that live at one time (rivals.h) do no harm here: one of them is the present
 * run, and the other only greets, or they take turns. It is noticed. */
#ifndef REPLICA_LINK_H
#define REPLICA_LINK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/id.h"
#include "replica/crypto.h"

enum {
    LINK_HINT_BYTES = 8,
    LINK_NONCE_BYTES = 24,
    LINK_OVERHEAD =
        LINK_HINT_BYTES + LINK_NONCE_BYTES + 16 + PUBLIC_KEY_BYTES + 1 + ID_BYTES,
    LINK_PAYLOAD_MAX = 512 * 1024 + 8, /* bytes: two blocks, each behind its length */
    LINK_MESSAGE_MAX = LINK_PAYLOAD_MAX + LINK_OVERHEAD,
};

/* Numbers are never given out twice. */
enum link_type {
    LINK_HELLO = 1,
    LINK_HAVE = 2,
    LINK_BLOCKS = 3,
    LINK_CHECKPOINT = 4,
    LINK_WANT = 5,
    LINK_RIVALS = 6,
    LINK_FORK = 7,
    LINK_BLOCKS_AWAITED = 8,
};

enum link_verdict {
    LINK_TAKEN,   /* *message is the peer's word */
    LINK_GREETED, /* a HELLO: it was dealt with; answer it when link_wants_hello() */
    LINK_FORGED,  /* not sealed by this peer for us, or too long or short */
    LINK_STALE, /* repeated, overtaken, of another run, or without our challenge: dropped */
    LINK_OLD,   /* a HELLO of another run than the present one, which is not proven */
};

struct link_message {
    uint8_t type;
    const uint8_t *payload; /* in the buffer given to link_open() */
    size_t len;
};

struct link;

/* run: of this link, random, never used before, for its numbers begin with 1. challenge: random. The keys are the nodes' Ed25519 keys.
 * NULL without memory, or where the peer's key is no point of the curve. */
struct link *link_new(const struct crypto *crypto, const struct key_pair *own,
                      const struct public_key *peer, const struct id *run,
                      const struct id *challenge);
void link_free(struct link *link);

/* Does the hint of a message name this link's peer? */
bool link_is_for(const struct link *link, const uint8_t *bytes, size_t len);

/* Open a message in place. fresh: random, for a new challenge. */
enum link_verdict link_open(struct link *link, uint8_t *bytes, size_t len,
                            const struct id *fresh, uint64_t now_ms,
                            struct link_message *message);

/* Seal payload (at most LINK_PAYLOAD_MAX) into out, which has room for len + LINK_OVERHEAD bytes. Returns the
 * message's length. Anything but HELLO only once link_up(). */
size_t link_seal(struct link *link, uint8_t type, const void *payload, size_t len,
                 uint8_t *out);
enum { LINK_HELLO_BYTES = ID_BYTES + 1 };
size_t link_seal_hello(struct link *link, uint8_t out[LINK_OVERHEAD + LINK_HELLO_BYTES]);

/* A HELLO came or a run was adopted that the peer does not know of: send one now. Reset by sealing one. */
bool link_wants_hello(const struct link *link);
/* Both ends know each other's present run and challenge: messages can be sent. */
bool link_up(const struct link *link);
/* How many runs of the peer have proven themselves: another one knows nothing of what was said to the last. */
uint64_t link_runs(const struct link *link);
/* More than one process with the peer's key is alive, or what an ended one has said is played back. */
bool link_rivals(const struct link *link, uint64_t now_ms);
/* Nothing was heard for too long: start again with HELLOs. The present run is kept until another proves itself. */
void link_down(struct link *link);

#endif

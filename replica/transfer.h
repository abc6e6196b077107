/* replica/transfer.h: a checkpoint on its way from one node to another: what the messages say, and what the receiving end
 * keeps. No I/O, no clock. What comes in is believed to be the peer's, and nothing more.
 *
 * Whoever is asked for blocks that its log no longer has offers its newest checkpoint, and sends it in pieces as it is
 * told. The receiver says up to where it has it; so a piece that was lost, repeated or overtaken costs a message, and a
 * conversation that broke off goes on where it stood. A checkpoint is named by its seal: what was made anew has another
 * one, and is begun anew.
 *
 * Payloads, integers little-endian:
 *   CHECKPOINT  maker [32], signature [64], u64 bytes of the state in all, u64 offset, the state's bytes from there on;
 *               without any: an offer
 *   WANT        maker [32], signature [64], u64 offset: everything before it is here, send what follows */
#ifndef REPLICA_TRANSFER_H
#define REPLICA_TRANSFER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/byte.h"
#include "common/err.h"
#include "replica/checkpoint.h"

enum {
    TRANSFER_MAX = 1 << 30,      /* bytes of a state that is taken, at most */
    TRANSFER_PIECE = 256 * 1024, /* bytes of it in one message, at most */
    TRANSFER_SEAL = PUBLIC_KEY_BYTES + SIGNATURE_BYTES,
    TRANSFER_HEAD = TRANSFER_SEAL + 8 + 8, /* of a CHECKPOINT */
    TRANSFER_WANT = TRANSFER_SEAL + 8,
};

struct transfer_piece {
    struct checkpoint_seal seal;
    uint64_t total, offset;
    const uint8_t *bytes; /* in the payload */
    size_t len;
};
struct transfer_want {
    struct checkpoint_seal seal;
    uint64_t offset;
};

/* Writes the head alone: the bytes stand behind it. */
void transfer_put_piece(struct writer *w, const struct transfer_piece *piece);
void transfer_put_want(struct writer *w, const struct transfer_want *want);
/* Errors: ERR_MALFORMED  not one such payload
 *         ERR_TOO_LONG   a state above TRANSFER_MAX */
enum err transfer_read_piece(const uint8_t *payload, size_t len,
                             struct transfer_piece *piece);
enum err transfer_read_want(const uint8_t *payload, size_t len,
                            struct transfer_want *want);
bool transfer_same(const struct checkpoint_seal *a, const struct checkpoint_seal *b);

/* The receiving end. Memory grows with what has come, not with what was announced. Zero-initialised is empty. */
struct fetch {
    struct checkpoint_seal seal;
    uint64_t total;
    uint8_t *bytes;
    size_t len, size;
};
void fetch_clear(struct fetch *f);
void fetch_begin(struct fetch *f, const struct transfer_piece *piece);
/* Does the piece belong to what is being fetched? */
bool fetch_is_of(const struct fetch *f, const struct transfer_piece *piece);
/* ERR_AGAIN: nothing that comes next. ERR_MEMORY. */
enum err fetch_take(struct fetch *f, const struct transfer_piece *piece);
bool fetch_done(const struct fetch *f);

#endif

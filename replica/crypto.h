/* replica/crypto.h: hashes, signatures and boxes behind a table, so that simulated histories can run with
 * something faster. */
#ifndef REPLICA_CRYPTO_H
#define REPLICA_CRYPTO_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HASH_BYTES = 32,
    SIGNATURE_BYTES = 64,
    PUBLIC_KEY_BYTES = 32,
    SECRET_KEY_BYTES = 64,
    BOX_KEY_BYTES = 32,
    BOX_NONCE_BYTES = 24,
    BOX_OVERHEAD = 16, /* a box is that much longer than what is in it */
};

struct hash {
    uint8_t byte[HASH_BYTES];
};

struct public_key {
    uint8_t byte[PUBLIC_KEY_BYTES];
};

struct key_pair {
    struct public_key public;
    uint8_t secret[SECRET_KEY_BYTES];
};

struct crypto {
    void (*hash)(struct hash *hash, const void *bytes, size_t len);
    /* Signs the hash. */
    void (*sign)(uint8_t signature[SIGNATURE_BYTES], const struct hash *hash,
                 const struct key_pair *key);
    bool (*verify)(const uint8_t signature[SIGNATURE_BYTES], const struct hash *hash,
                   const struct public_key *key);
    /* What boxes between two nodes are sealed with: the same at both ends. False: the peer's key is no point of
     * the curve. */
    bool (*box_key)(uint8_t key[BOX_KEY_BYTES], const struct key_pair *own,
                    const struct public_key *peer);
    /* In place: len bytes from box + BOX_OVERHEAD on. A nonce serves once. False: not sealed with this key and
     * nonce, and the bytes are worth nothing. */
    void (*box_seal)(uint8_t *box, size_t len, const uint8_t nonce[BOX_NONCE_BYTES],
                     const uint8_t key[BOX_KEY_BYTES]);
    bool (*box_open)(uint8_t *box, size_t len, const uint8_t nonce[BOX_NONCE_BYTES],
                     const uint8_t key[BOX_KEY_BYTES]);
};

/* BLAKE2b (256 bits), Ed25519, and X25519 with XSalsa20 and Poly1305, from libsodium; sodium_init() must have
 * been called. */
extern const struct crypto crypto_real;

bool hash_equal(const struct hash *a, const struct hash *b);

#endif

/* replica/crypto.h: hashes and signatures behind a table, so that simulated histories can run with
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
    SECRET_KEY_BYTES = 64
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
};

/* BLAKE2b (256 bits) and Ed25519, from libsodium; sodium_init() must have been called. */
extern const struct crypto crypto_real;

bool hash_equal(const struct hash *a, const struct hash *b);

#endif

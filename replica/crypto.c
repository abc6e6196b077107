#include "replica/crypto.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

static_assert(HASH_BYTES == crypto_generichash_BYTES, "BLAKE2b-256");
static_assert(SIGNATURE_BYTES == crypto_sign_BYTES, "Ed25519");
static_assert(PUBLIC_KEY_BYTES == crypto_sign_PUBLICKEYBYTES, "Ed25519");
static_assert(SECRET_KEY_BYTES == crypto_sign_SECRETKEYBYTES, "Ed25519");

static void real_hash(struct hash *hash, const void *bytes, size_t len)
{
    crypto_generichash(hash->byte, sizeof hash->byte, bytes, len, NULL, 0);
}

static void real_sign(uint8_t signature[SIGNATURE_BYTES], const struct hash *hash,
                      const struct key_pair *key)
{
    crypto_sign_detached(signature, NULL, hash->byte, sizeof hash->byte, key->secret);
}

static bool real_verify(const uint8_t signature[SIGNATURE_BYTES], const struct hash *hash,
                        const struct public_key *key)
{
    return crypto_sign_verify_detached(signature, hash->byte, sizeof hash->byte,
                                       key->byte) == 0;
}

const struct crypto crypto_real = {
    .hash = real_hash, .sign = real_sign, .verify = real_verify};

bool hash_equal(const struct hash *a, const struct hash *b)
{
    return memcmp(a->byte, b->byte, sizeof a->byte) == 0;
}

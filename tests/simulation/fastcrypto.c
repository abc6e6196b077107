#include "tests/simulation/fastcrypto.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

static_assert(HASH_BYTES == 2 * crypto_shorthash_siphashx24_BYTES, "two halves");
static_assert(crypto_shorthash_siphashx24_KEYBYTES <= PUBLIC_KEY_BYTES,
              "a key is in a key");

static void fast_hash(struct hash *hash, const void *bytes, size_t len)
{
    static const uint8_t low[crypto_shorthash_siphashx24_KEYBYTES] = "low half",
                         high[crypto_shorthash_siphashx24_KEYBYTES] = "high half";

    crypto_shorthash_siphashx24(hash->byte, bytes, len, low);
    crypto_shorthash_siphashx24(hash->byte + HASH_BYTES / 2, bytes, len, high);
}

static void signature_of(uint8_t signature[SIGNATURE_BYTES], const struct hash *hash,
                         const struct public_key *key)
{
    memset(signature, 0, SIGNATURE_BYTES);
    crypto_shorthash_siphashx24(signature, hash->byte, sizeof hash->byte, key->byte);
}

static void fast_sign(uint8_t signature[SIGNATURE_BYTES], const struct hash *hash,
                      const struct key_pair *key)
{
    signature_of(signature, hash, &key->public);
}

static bool fast_verify(const uint8_t signature[SIGNATURE_BYTES], const struct hash *hash,
                        const struct public_key *key)
{
    uint8_t expected[SIGNATURE_BYTES];

    signature_of(expected, hash, key);
    return memcmp(expected, signature, sizeof expected) == 0;
}

const struct crypto crypto_fast = {
    .hash = fast_hash, .sign = fast_sign, .verify = fast_verify};

#include "tests/simulation/fastcrypto.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

static_assert(HASH_BYTES == 2 * crypto_shorthash_siphashx24_BYTES, "two halves");
static_assert(crypto_shorthash_siphashx24_KEYBYTES <= PUBLIC_KEY_BYTES,
              "a key is in a key");
static_assert((int)BOX_KEY_BYTES <= (int)HASH_BYTES, "and a hash is one");
static_assert(BOX_OVERHEAD == crypto_shorthash_siphashx24_BYTES, "a hash");

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

/* ---- boxes: what is in them stands there in the clear, under a keyed hash ---- */

static bool fast_box_key(uint8_t key[BOX_KEY_BYTES], const struct key_pair *own,
                         const struct public_key *peer)
{
    struct public_key both[2] = {own->public, *peer};
    struct hash hash;

    if (memcmp(&both[0], &both[1], sizeof both[0]) > 0) {
        both[0] = *peer;
        both[1] = own->public;
    }
    fast_hash(&hash, both, sizeof both);
    memcpy(key, hash.byte, BOX_KEY_BYTES);
    return true;
}

static void box_mac(uint8_t mac[BOX_OVERHEAD], const uint8_t *box, size_t len,
                    const uint8_t nonce[BOX_NONCE_BYTES],
                    const uint8_t key[BOX_KEY_BYTES])
{
    uint8_t mixed[crypto_shorthash_siphashx24_KEYBYTES];

    for (size_t i = 0; i < sizeof mixed; i++)
        mixed[i] = (uint8_t)(key[i] ^ nonce[i]);
    for (size_t i = sizeof mixed; i < BOX_NONCE_BYTES; i++)
        mixed[i % sizeof mixed] ^= nonce[i];
    crypto_shorthash_siphashx24(mac, box + BOX_OVERHEAD, len, mixed);
}

static void fast_box_seal(uint8_t *box, size_t len, const uint8_t nonce[BOX_NONCE_BYTES],
                          const uint8_t key[BOX_KEY_BYTES])
{
    box_mac(box, box, len, nonce, key);
}

static bool fast_box_open(uint8_t *box, size_t len, const uint8_t nonce[BOX_NONCE_BYTES],
                          const uint8_t key[BOX_KEY_BYTES])
{
    uint8_t mac[BOX_OVERHEAD];

    box_mac(mac, box, len, nonce, key);
    return memcmp(mac, box, sizeof mac) == 0;
}

const struct crypto crypto_fast = {.hash = fast_hash,
                                   .sign = fast_sign,
                                   .verify = fast_verify,
                                   .box_key = fast_box_key,
                                   .box_seal = fast_box_seal,
                                   .box_open = fast_box_open};

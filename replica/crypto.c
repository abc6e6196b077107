#include "replica/crypto.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

static_assert(HASH_BYTES == crypto_generichash_BYTES, "BLAKE2b-256");
static_assert(SIGNATURE_BYTES == crypto_sign_BYTES, "Ed25519");
static_assert(PUBLIC_KEY_BYTES == crypto_sign_PUBLICKEYBYTES, "Ed25519");
static_assert(SECRET_KEY_BYTES == crypto_sign_SECRETKEYBYTES, "Ed25519");
static_assert(BOX_KEY_BYTES == crypto_box_BEFORENMBYTES, "X25519");
static_assert(BOX_NONCE_BYTES == crypto_box_NONCEBYTES, "XSalsa20");
static_assert(BOX_OVERHEAD == crypto_box_MACBYTES, "Poly1305");

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

static bool real_box_key(uint8_t key[BOX_KEY_BYTES], const struct key_pair *own,
                         const struct public_key *peer)
{
    uint8_t secret[crypto_box_SECRETKEYBYTES], public[crypto_box_PUBLICKEYBYTES];
    bool good = crypto_sign_ed25519_sk_to_curve25519(secret, own->secret) == 0 &&
                crypto_sign_ed25519_pk_to_curve25519(public, peer->byte) == 0 &&
                crypto_box_beforenm(key, public, secret) == 0;

    sodium_memzero(secret, sizeof secret);
    return good;
}

static void real_box_seal(uint8_t *box, size_t len, const uint8_t nonce[BOX_NONCE_BYTES],
                          const uint8_t key[BOX_KEY_BYTES])
{
    uint8_t *plain = box + BOX_OVERHEAD;

    crypto_box_detached_afternm(plain, box, plain, len, nonce, key);
}

static bool real_box_open(uint8_t *box, size_t len, const uint8_t nonce[BOX_NONCE_BYTES],
                          const uint8_t key[BOX_KEY_BYTES])
{
    uint8_t *plain = box + BOX_OVERHEAD;

    return crypto_box_open_detached_afternm(plain, plain, box, len, nonce, key) == 0;
}

const struct crypto crypto_real = {.hash = real_hash,
                                   .sign = real_sign,
                                   .verify = real_verify,
                                   .box_key = real_box_key,
                                   .box_seal = real_box_seal,
                                   .box_open = real_box_open};

bool hash_equal(const struct hash *a, const struct hash *b)
{
    return memcmp(a->byte, b->byte, sizeof a->byte) == 0;
}

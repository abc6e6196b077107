/* tests/fuzz/weak_crypto.h: crypto that what comes behind it can be reached with: hashes of a few bits, signatures that
 * are mostly good, boxes that are open. One file of a program includes it. */
#ifndef TESTS_FUZZ_WEAK_CRYPTO_H
#define TESTS_FUZZ_WEAK_CRYPTO_H
#include <string.h>

#include "replica/crypto.h"

/* So few that a changed block may still follow the one before it, or contradict another. */
static void weak_hash(struct hash *hash, const void *bytes, size_t len)
{
    const uint8_t *byte = bytes;
    uint8_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum = (uint8_t)(31 * sum + byte[i]);
    *hash = (struct hash){{(uint8_t)(sum >> 6)}};
}

static void weak_sign(uint8_t signature[SIGNATURE_BYTES], const struct hash *hash,
                      const struct key_pair *key)
{
    memset(signature, 0, SIGNATURE_BYTES);
    signature[1] = hash->byte[0];
    signature[2] = key->public.byte[0];
}

static bool weak_verify(const uint8_t signature[SIGNATURE_BYTES], const struct hash *hash,
                        const struct public_key *key)
{
    (void)hash;
    (void)key;
    return signature[0] != 0xee;
}

static bool weak_box_key(uint8_t key[BOX_KEY_BYTES], const struct key_pair *own,
                         const struct public_key *peer)
{
    (void)own;
    (void)peer;
    memset(key, 0, BOX_KEY_BYTES);
    return true;
}

static void weak_box_seal(uint8_t *box, size_t len, const uint8_t nonce[BOX_NONCE_BYTES],
                          const uint8_t key[BOX_KEY_BYTES])
{
    (void)len;
    (void)nonce;
    (void)key;
    memset(box, 0, BOX_OVERHEAD);
}

static bool weak_box_open(uint8_t *box, size_t len, const uint8_t nonce[BOX_NONCE_BYTES],
                          const uint8_t key[BOX_KEY_BYTES])
{
    (void)len;
    (void)nonce;
    (void)key;
    return box[0] == 0;
}

static const struct crypto weak_crypto = {.hash = weak_hash,
                                          .sign = weak_sign,
                                          .verify = weak_verify,
                                          .box_key = weak_box_key,
                                          .box_seal = weak_box_seal,
                                          .box_open = weak_box_open};

#endif

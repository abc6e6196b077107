/* tests/fuzz/fuzz_checkpoint.c: any bytes as a checkpoint. The first byte says how they
 * are meant:
 *   even  the rest is the file
 *   odd   u16 length of the state, the state, and the node's own part: header, signature
 *         and hash are made to fit, so that what decodes them is reached
 *
 * What is loaded encodes to what it was loaded from, unless that lacks a component or has
 * an older version of it; and so does what is loaded from that. */
#include <stdlib.h>
#include <string.h>

#include "replica/checkpoint.h"
#include "tests/fuzz/quiet.h"
#include "tests/lib/memory_disk.h"

enum { HEADER = 48, TRAILER = PUBLIC_KEY_BYTES + SIGNATURE_BYTES + HASH_BYTES };

#define NAME "0000000000000001.checkpoint"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void sign(uint8_t signature[SIGNATURE_BYTES], const struct hash *hash,
                 const struct key_pair *key)
{
    (void)key;
    memcpy(signature, hash->byte, HASH_BYTES);
    memcpy(signature + HASH_BYTES, hash->byte, HASH_BYTES);
}

static bool verify(const uint8_t signature[SIGNATURE_BYTES], const struct hash *hash,
                   const struct public_key *key)
{
    uint8_t expected[SIGNATURE_BYTES];

    (void)key;
    sign(expected, hash, NULL);
    return memcmp(signature, expected, sizeof expected) == 0;
}

/* As FORMAT.md has it, not as checkpoint.c does it. */
static size_t wrap(uint8_t *file, size_t max, const uint8_t *state, size_t state_len,
                   const uint8_t *own, size_t own_len, const struct crypto *crypto)
{
    struct writer w = writer_of(file, max);
    uint8_t signature[SIGNATURE_BYTES];
    static const uint8_t maker[PUBLIC_KEY_BYTES];
    struct hash hash;

    write_bytes(&w, "TALLYCKP", 8);
    write_u32(&w, 1);
    write_u32(&w, 0);
    write_u64(&w, 0);
    write_u64(&w, 0);
    write_u64(&w, state_len);
    write_u64(&w, own_len);
    write_bytes(&w, state, state_len);
    write_bytes(&w, own, own_len);
    write_bytes(&w, maker, sizeof maker);
    crypto->hash(&hash, state, state_len);
    sign(signature, &hash, NULL);
    write_bytes(&w, signature, sizeof signature);
    crypto->hash(&hash, file, w.len);
    write_bytes(&w, hash.byte, sizeof hash.byte);
    return w.full ? 0 : w.len;
}

static struct core *load(const uint8_t *file, size_t len,
                         const struct core_config *config)
{
    struct disk *disk = memory_disk_new();
    struct core *core = core_new(config);
    struct checkpoint checkpoint;
    enum err err;

    memory_disk_put(disk, NAME, file, len);
    err = checkpoint_load(disk, 1, config->crypto, core, &checkpoint);
    memory_disk_free(disk);
    if (err == ERR_OK)
        return core;
    core_free(core);
    return NULL;
}

static size_t save(struct core *core, const struct core_config *config, uint8_t *file,
                   size_t max)
{
    static const struct wal_mark mark;
    struct checkpoint_draft *draft;
    struct disk_make make;
    enum err err =
        checkpoint_draft_new(core, &mark, 1, config->crypto, &config->key, &draft);

    if (err != ERR_OK)
        abort();
    while ((err = checkpoint_draft_step(draft, 3, &make)) == ERR_AGAIN)
        ;
    if (err != ERR_OK || make.len > max)
        abort();
    make.complete(make.arg);
    memcpy(file, make.bytes, make.len);
    checkpoint_draft_free(draft);
    return make.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t file[1 << 20], again[1 << 20], third[1 << 20];
    struct crypto crypto = {.hash = crypto_real.hash, .sign = sign, .verify = verify};
    const struct core_config config = {
        .crypto = &crypto, .node_name = "fuzz", .items_max = 100, .requests = 4096};
    struct reader r = reader_of(data, size);
    bool wrapped = read_u8(&r) % 2 != 0;
    size_t state_len = wrapped ? read_u16(&r) : 0, len, again_len, third_len;
    struct core *core;
    bool older; /* version 1 of the counters, without any: version 2 is as long then */

    if (r.bad || state_len > r.left || r.left > sizeof file / 4)
        return 0;
    older = state_len > 1 && r.at[state_len - 2] == 1 && r.at[state_len - 1] == 0;
    if (wrapped) {
        len = wrap(file, sizeof file, r.at, state_len, r.at + state_len,
                   r.left - state_len, &crypto);
    } else {
        len = r.left;
        memcpy(file, r.at, len);
    }
    core = load(file, len, &config);
    if (core == NULL)
        return 0;
    again_len = save(core, &config, again, sizeof again);
    core_free(core);
    if (wrapped && again_len == len && !older && memcmp(again, file, len) != 0)
        abort();
    if (wrapped && again_len < len)
        abort();
    core = load(again, again_len, &config);
    if (core == NULL)
        abort();
    third_len = save(core, &config, third, sizeof third);
    core_free(core);
    if (third_len != again_len || memcmp(third, again, third_len) != 0)
        abort();
    return 0;
}

#include "replica/forks.h"

#include <stdlib.h>
#include <string.h>

#include "common/byte.h"

static bool goes_on_wrongly(const struct block *from, const struct block *next)
{
    return next->number == from->number + 1 && !hash_equal(&next->previous, &from->hash);
}

bool fork_contradicts(const struct block *a, const struct block *b)
{
    return id_equal(&a->stream, &b->stream) &&
           ((a->number == b->number && !hash_equal(&a->hash, &b->hash)) ||
            goes_on_wrongly(a, b) || goes_on_wrongly(b, a));
}

enum err fork_read(const uint8_t *bytes, size_t len, const struct crypto *crypto,
                   struct fork_half half[2], unsigned *count)
{
    struct reader r = reader_of(bytes, len);
    enum err err = ERR_OK;

    for (*count = 0; *count < 2 && r.left > 0 && err == ERR_OK; ++*count) {
        struct fork_half *h = &half[*count];

        h->len = read_u32(&r);
        h->bytes = read_bytes(&r, h->len);
        err = r.bad || h->len >= BLOCK_MAX
                  ? ERR_MALFORMED
                  : block_decode(h->bytes, h->len, crypto, &h->block);
    }
    if (err == ERR_VERSION)
        return err;
    if (err != ERR_OK || *count == 0 || !reader_done(&r) ||
        (*count == 2 && !fork_contradicts(&half[0].block, &half[1].block)))
        return ERR_MALFORMED;
    return ERR_OK;
}

static enum err append(struct fork_proof *proof, const uint8_t *bytes, size_t len)
{
    size_t size = sizeof(uint32_t) + len;
    uint8_t *grown = realloc(proof->bytes, proof->len + size);
    struct writer w;

    if (grown == NULL)
        return ERR_MEMORY;
    w = writer_of(grown + proof->len, size);
    write_u32(&w, (uint32_t)len);
    write_bytes(&w, bytes, len);
    proof->bytes = grown;
    proof->len += size;
    proof->blocks++;
    return ERR_OK;
}

enum err fork_add(struct fork_proof *proof, const struct crypto *crypto,
                  const uint8_t *bytes, size_t len)
{
    struct fork_half held[2];
    struct block block;
    unsigned count = 0;

    if (proof->blocks == 2 || block_decode(bytes, len, crypto, &block) != ERR_OK)
        return ERR_OK;
    if (proof->blocks == 1 &&
        (fork_read(proof->bytes, proof->len, crypto, held, &count) != ERR_OK ||
         !fork_contradicts(&held[0].block, &block)))
        fork_clear(proof);
    return append(proof, bytes, len);
}

enum err fork_copy(struct fork_proof *to, const struct fork_proof *from)
{
    uint8_t *bytes = malloc(from->len > 0 ? from->len : 1);

    if (bytes == NULL)
        return ERR_MEMORY;
    if (from->len > 0)
        memcpy(bytes, from->bytes, from->len);
    fork_clear(to);
    *to = (struct fork_proof){bytes, from->len, from->blocks};
    return ERR_OK;
}

void fork_clear(struct fork_proof *proof)
{
    free(proof->bytes);
    *proof = (struct fork_proof){0};
}

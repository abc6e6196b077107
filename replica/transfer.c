#include "replica/transfer.h"

#include <stdlib.h>
#include <string.h>

static void put_seal(struct writer *w, const struct checkpoint_seal *seal)
{
    write_bytes(w, seal->maker.byte, PUBLIC_KEY_BYTES);
    write_bytes(w, seal->signature, SIGNATURE_BYTES);
}

static void get_seal(struct reader *r, struct checkpoint_seal *seal)
{
    read_copy(r, seal->maker.byte, PUBLIC_KEY_BYTES);
    read_copy(r, seal->signature, SIGNATURE_BYTES);
}

void transfer_put_piece(struct writer *w, const struct transfer_piece *piece)
{
    put_seal(w, &piece->seal);
    write_u64(w, piece->total);
    write_u64(w, piece->offset);
}

void transfer_put_want(struct writer *w, const struct transfer_want *want)
{
    put_seal(w, &want->seal);
    write_u64(w, want->offset);
}

enum err transfer_read_piece(const uint8_t *payload, size_t len,
                             struct transfer_piece *piece)
{
    struct reader r = reader_of(payload, len);

    get_seal(&r, &piece->seal);
    piece->total = read_u64(&r);
    piece->offset = read_u64(&r);
    piece->bytes = r.at;
    piece->len = r.left;
    if (r.bad || piece->total == 0 || piece->len > TRANSFER_PIECE ||
        piece->offset > piece->total || piece->len > piece->total - piece->offset)
        return ERR_MALFORMED;
    return piece->total > TRANSFER_MAX ? ERR_TOO_LONG : ERR_OK;
}

enum err transfer_read_want(const uint8_t *payload, size_t len,
                            struct transfer_want *want)
{
    struct reader r = reader_of(payload, len);

    get_seal(&r, &want->seal);
    want->offset = read_u64(&r);
    return reader_done(&r) ? ERR_OK : ERR_MALFORMED;
}

bool transfer_same(const struct checkpoint_seal *a, const struct checkpoint_seal *b)
{
    return memcmp(a->maker.byte, b->maker.byte, PUBLIC_KEY_BYTES) == 0 &&
           memcmp(a->signature, b->signature, SIGNATURE_BYTES) == 0;
}

/* ---- the receiving end ---- */

void fetch_clear(struct fetch *f)
{
    free(f->bytes);
    *f = (struct fetch){0};
}

void fetch_begin(struct fetch *f, const struct transfer_piece *piece)
{
    fetch_clear(f);
    f->seal = piece->seal;
    f->total = piece->total;
}

bool fetch_is_of(const struct fetch *f, const struct transfer_piece *piece)
{
    return f->total == piece->total && transfer_same(&f->seal, &piece->seal);
}

static bool grow(struct fetch *f, size_t need)
{
    size_t size = f->size == 0 ? TRANSFER_PIECE : f->size;
    uint8_t *bytes;

    if (need <= f->size)
        return true;
    while (size < need)
        size *= 2;
    if (size > f->total)
        size = (size_t)f->total;
    bytes = realloc(f->bytes, size);
    if (bytes == NULL)
        return false;
    f->bytes = bytes;
    f->size = size;
    return true;
}

enum err fetch_take(struct fetch *f, const struct transfer_piece *piece)
{
    size_t known;

    if (piece->offset > f->len || piece->offset + piece->len <= f->len)
        return ERR_AGAIN;
    known = f->len - (size_t)piece->offset;
    if (!grow(f, f->len + piece->len - known))
        return ERR_MEMORY;
    memcpy(f->bytes + f->len, piece->bytes + known, piece->len - known);
    f->len += piece->len - known;
    return ERR_OK;
}

bool fetch_done(const struct fetch *f)
{
    return f->total > 0 && f->len == f->total;
}

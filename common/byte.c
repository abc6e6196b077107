#include "common/byte.h"

#include <string.h>

enum { VARINT_MAX_BYTES = 10 };

struct reader reader_of(const void *bytes, size_t len)
{
    return (struct reader){.at = bytes, .left = len};
}

const uint8_t *read_bytes(struct reader *r, size_t len)
{
    const uint8_t *at = r->at;

    if (r->bad || len > r->left) {
        r->bad = true;
        return NULL;
    }
    if (len >
        0) /* an empty reader may stand at NULL, where C allows no arithmetic at all */
        r->at += len;
    r->left -= len;
    return at;
}

void read_copy(struct reader *r, void *to, size_t len)
{
    const uint8_t *from = read_bytes(r, len);

    if (from != NULL)
        memcpy(to, from, len);
    else
        memset(to, 0, len);
}

static uint64_t read_little(struct reader *r, size_t len)
{
    const uint8_t *from = read_bytes(r, len);
    uint64_t v = 0;

    if (from == NULL)
        return 0;
    for (size_t i = 0; i < len; i++)
        v |= (uint64_t)from[i] << (8 * i);
    return v;
}

uint8_t read_u8(struct reader *r)
{
    return (uint8_t)read_little(r, 1);
}

bool read_bool(struct reader *r)
{
    uint8_t byte = read_u8(r);

    if (byte > 1)
        r->bad = true;
    return byte == 1;
}

uint16_t read_u16(struct reader *r)
{
    return (uint16_t)read_little(r, 2);
}

uint32_t read_u32(struct reader *r)
{
    return (uint32_t)read_little(r, 4);
}

uint64_t read_u64(struct reader *r)
{
    return read_little(r, 8);
}

uint64_t read_varint(struct reader *r)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < VARINT_MAX_BYTES; i++) {
        uint8_t byte = read_u8(r);

        if (r->bad)
            return 0;
        /* The tenth byte has room for one bit; a last byte of zero says nothing. */
        if ((i == VARINT_MAX_BYTES - 1 && byte > 1) || (i > 0 && byte == 0)) {
            r->bad = true;
            return 0;
        }
        v |= (uint64_t)(byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0)
            return v;
    }
    r->bad = true;
    return 0;
}

static uint64_t zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0);
}

int64_t read_svarint(struct reader *r)
{
    uint64_t v = read_varint(r);

    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

bool reader_done(const struct reader *r)
{
    return !r->bad && r->left == 0;
}

struct writer writer_of(void *buf, size_t size)
{
    return (struct writer){.start = buf, .size = size};
}

void write_bytes(struct writer *w, const void *bytes, size_t len)
{
    if (w->full || len > w->size - w->len) {
        w->full = true;
        return;
    }
    if (len > 0)
        memcpy(w->start + w->len, bytes, len);
    w->len += len;
}

static void write_little(struct writer *w, uint64_t v, size_t len)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(v >> (8 * i));
    write_bytes(w, bytes, len);
}

void write_u8(struct writer *w, uint8_t v)
{
    write_bytes(w, &v, 1);
}

void write_u16(struct writer *w, uint16_t v)
{
    write_little(w, v, 2);
}

void write_u32(struct writer *w, uint32_t v)
{
    write_little(w, v, 4);
}

void write_u64(struct writer *w, uint64_t v)
{
    write_little(w, v, 8);
}

void write_varint(struct writer *w, uint64_t v)
{
    uint8_t bytes[VARINT_MAX_BYTES];
    size_t len = 0;

    while (v >= 0x80) {
        bytes[len++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    bytes[len++] = (uint8_t)v;
    write_bytes(w, bytes, len);
}

void write_svarint(struct writer *w, int64_t v)
{
    write_varint(w, zigzag(v));
}

size_t varint_size(uint64_t v)
{
    size_t len = 1;

    while (v >= 0x80) {
        v >>= 7;
        len++;
    }
    return len;
}

size_t svarint_size(int64_t v)
{
    return varint_size(zigzag(v));
}

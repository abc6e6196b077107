/* common/byte.h: bounded reading and writing of bytes, for messages and the log.
 * Both kinds remember the first mistake, so a parser reads all its fields and asks once at the
 * end. Integers are little-endian; a varint is LEB128: 7 bits a byte, lowest first, at most 10
 * bytes, and never longer than its value needs, so that one value has one encoding. */
#ifndef COMMON_BYTE_H
#define COMMON_BYTE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reader {
    const uint8_t *at;
    size_t left;
    bool bad; /* something was not there, or not canonical; all reads give 0 since */
};

struct reader reader_of(const void *bytes, size_t len);
uint8_t read_u8(struct reader *r);
bool read_bool(struct reader *r); /* one byte, 0 or 1; anything else is not canonical */
uint16_t read_u16(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
uint64_t read_varint(struct reader *r);
int64_t read_svarint(struct reader *r); /* zigzag */
/* The next len bytes, in place: good for as long as the buffer is. NULL when there are fewer. */
const uint8_t *read_bytes(struct reader *r, size_t len);
/* Copies len bytes to `to`, zeros where there are fewer. */
void read_copy(struct reader *r, void *to, size_t len);
/* Everything was read, and nothing was wrong. */
bool reader_done(const struct reader *r);

struct writer {
    uint8_t *start;
    size_t len;
    size_t size;
    bool full; /* something did not fit; nothing has been written since */
};

/* The caller owns buf. */
struct writer writer_of(void *buf, size_t size);
void write_u8(struct writer *w, uint8_t v);
void write_u16(struct writer *w, uint16_t v);
void write_u32(struct writer *w, uint32_t v);
void write_u64(struct writer *w, uint64_t v);
void write_varint(struct writer *w, uint64_t v);
void write_svarint(struct writer *w, int64_t v);
void write_bytes(struct writer *w, const void *bytes, size_t len);

/* What write_varint() would take, in bytes. */
size_t varint_size(uint64_t v);
size_t svarint_size(int64_t v);

#endif

/* common/id.h: 128-bit ids (requests, streams, clusters) and where in a log something stands. */
#ifndef COMMON_ID_H
#define COMMON_ID_H
#include <stdbool.h>
#include <stdint.h>

enum { ID_BYTES = 16, ID_HEX = 2 * ID_BYTES };

struct id {
    uint8_t byte[ID_BYTES];
};

/* A place in the log: block `number` of `stream`, counted from 1. All zero: before any block. */
struct position {
    struct id stream;
    uint64_t number;
};

bool id_equal(const struct id *a, const struct id *b);
bool id_is_zero(const struct id *id);

/* Lower-case hexadecimal and a NUL: ID_HEX + 1 bytes into out. */
void id_format(const struct id *id, char out[ID_HEX + 1]);

#endif

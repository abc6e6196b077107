#include "tests/simulation/format.h"

#include <sodium.h>
#include <string.h>

static uint64_t get(const uint8_t *bytes, size_t len)
{
    uint64_t value = 0;

    for (size_t i = len; i > 0; i--)
        value = value << 8 | bytes[i - 1];
    return value;
}

static void put(uint8_t *bytes, uint64_t value, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t checksum(uint64_t lsn, const uint8_t *bytes, size_t len)
{
    uint8_t key[crypto_shorthash_KEYBYTES] = "tally wa", out[crypto_shorthash_BYTES];

    put(key + 8, lsn, 8);
    crypto_shorthash(out, bytes, len, key);
    return get(out, sizeof out);
}

bool format_segment(const uint8_t header[FORMAT_SEGMENT_HEADER],
                    struct format_segment *segment)
{
    segment->number = get(header + 16, 8);
    segment->base = get(header + 24, 8);
    segment->size = get(header + 32, 8);
    return memcmp(header, "TALLYLOG", 8) == 0;
}

bool format_frame(const uint8_t *bytes, size_t len, uint64_t lsn,
                  struct format_frame *frame)
{
    if (len < FORMAT_FRAME_HEADER || memcmp(bytes + 8, "TLYF", 4) != 0)
        return false;
    frame->lsn = lsn;
    frame->check = get(bytes, 8);
    frame->payload_len = (size_t)get(bytes + 12, 4);
    frame->durable = get(bytes + 16, 8);
    frame->previous = get(bytes + 24, 8);
    frame->payload = bytes + FORMAT_FRAME_HEADER;
    frame->len = FORMAT_FRAME_HEADER + frame->payload_len;
    return frame->len <= len && frame->check == checksum(lsn, bytes + 8, frame->len - 8);
}

void format_frame_forge(uint8_t *to, uint64_t lsn, uint64_t durable, uint64_t previous,
                        const uint8_t *payload, size_t len)
{
    memcpy(to + 8, "TLYF", 4);
    put(to + 12, len, 4);
    put(to + 16, durable, 8);
    put(to + 24, previous, 8);
    memcpy(to + FORMAT_FRAME_HEADER, payload, len);
    put(to, checksum(lsn, to + 8, FORMAT_FRAME_HEADER - 8 + len), 8);
}

void format_checkpoint(const uint8_t header[FORMAT_CHECKPOINT_HEADER],
                       struct format_checkpoint *checkpoint)
{
    checkpoint->lsn = get(header + 16, 8);
    checkpoint->check = get(header + 24, 8);
    checkpoint->state_len = get(header + 32, 8);
    checkpoint->own_len = get(header + 40, 8);
}

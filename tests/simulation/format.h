/* tests/simulation/format.h: the little of replica/FORMAT.md that the checkers need,
 * written a second time: a checker that asked the code under test how to read its log
 * would believe its mistakes. */
#ifndef SIMULATION_FORMAT_H
#define SIMULATION_FORMAT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FORMAT_SEGMENT_HEADER = 64,
    FORMAT_SEGMENT_CHECKED = 48, /* bytes of the header that mean something */
    FORMAT_FRAME_HEADER = 32,
    FORMAT_VERSION_AT = 8, /* in a segment, and in a checkpoint: four bytes */
};

struct format_segment {
    uint64_t number, base, size;
};
/* False where it is no segment's header. Its checksum is not looked at. */
bool format_segment(const uint8_t header[FORMAT_SEGMENT_HEADER],
                    struct format_segment *segment);

struct format_frame {
    uint64_t lsn, check, durable, previous;
    const uint8_t *payload;
    size_t payload_len, len; /* len: with its header */
};
/* False where no whole frame stands there. */
bool format_frame(const uint8_t *bytes, size_t len, uint64_t lsn,
                  struct format_frame *frame);
/* Write a frame that is right in itself: FORMAT_FRAME_HEADER + len bytes. */
void format_frame_forge(uint8_t *to, uint64_t lsn, uint64_t durable, uint64_t previous,
                        const uint8_t *payload, size_t len);

/* Where in the log a checkpoint stands. */
enum { FORMAT_CHECKPOINT_HEADER = 48 };
struct format_checkpoint {
    uint64_t lsn, check, state_len, own_len;
};
void format_checkpoint(const uint8_t header[FORMAT_CHECKPOINT_HEADER],
                       struct format_checkpoint *checkpoint);

#endif

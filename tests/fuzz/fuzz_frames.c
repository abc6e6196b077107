/* tests/fuzz/fuzz_frames.c: any bytes as a stream of frames, cut anywhere. The first byte says how: so many bytes at a time, each
 * time one more. What comes out is what went in, up to the first length that may not be. */
#include <stdlib.h>
#include <string.h>

#include "common/byte.h"
#include "common/frames.h"

enum { MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* False: what comes now is too long. */
static bool take(struct frames_in *in, struct reader *expected)
{
    const uint8_t *message;
    size_t len;
    enum err err;

    while ((err = frames_next(in, &message, &len)) == ERR_OK) {
        must(len <= MAX && read_u32(expected) == len);
        must(expected->left >= len);
        must(memcmp(message, read_bytes(expected, len), len) == 0);
    }
    must(err == ERR_AGAIN || err == ERR_TOO_LONG);
    must(frames_ready(in) == (err == ERR_TOO_LONG));
    if (err == ERR_TOO_LONG)
        must(len > MAX && read_u32(expected) == len);
    return err == ERR_AGAIN;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader expected = reader_of(data, size);
    size_t piece = read_u8(&expected), at = 1;
    struct frames_in in;
    bool good = true;

    expected.bad = false; /* Nothing at all is a stream, too. */
    must(frames_in_init(&in, MAX) == ERR_OK);
    while (at < size && good) {
        size_t room, len = ++piece;
        uint8_t *to = frames_room(&in, &room);

        must(room > 0);
        len = len < room ? len : room;
        len = len < size - at ? len : size - at;
        memcpy(to, data + at, len);
        frames_came(&in, len);
        at += len;
        good = take(&in, &expected);
    }
    must(!expected.bad);
    frames_in_free(&in);
    return 0;
}

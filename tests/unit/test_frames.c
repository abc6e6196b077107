/* tests/unit/test_frames.c: messages arrive whole and in order, however the bytes are cut on their way. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/frames.h"

enum { MAX = 16 };

/* Three frames: "one", an empty one, and the longest. */
static const uint8_t stream[] = "\x03\0\0\0one"
                                "\0\0\0\0"
                                "\x10\0\0\0sixteen bytes ok";
enum { STREAM = sizeof stream - 1 };
static const char *const messages[] = {"one", "", "sixteen bytes ok"};

static void come(struct frames_in *in, const uint8_t *bytes, size_t len)
{
    size_t room;
    uint8_t *to = frames_room(in, &room);

    cr_assert_geq(room, len, "no room for what belongs to one frame");
    memcpy(to, bytes, len);
    frames_came(in, len);
}

/* Take all that are there. */
static void take(struct frames_in *in, unsigned *taken)
{
    const uint8_t *message;
    size_t len;

    while (frames_next(in, &message, &len) == ERR_OK) {
        cr_assert_lt(*taken, 3u);
        cr_assert_eq(len, strlen(messages[*taken]));
        cr_assert_eq(memcmp(message, messages[*taken], len), 0);
        ++*taken;
    }
}

Test(frames, messages_are_the_same_wherever_two_cuts_go_through_the_bytes)
{
    struct frames_in in;

    cr_assert_eq(frames_in_init(&in, MAX), ERR_OK);
    for (size_t first = 0; first <= STREAM; first++)
        for (size_t second = first; second <= STREAM; second++) {
            const size_t cuts[] = {0, first, second, STREAM};
            unsigned taken = 0;

            for (int i = 0; i < 3; i++)
                for (size_t at = cuts[i]; at < cuts[i + 1];) {
                    size_t room, len = cuts[i + 1] - at;

                    frames_room(&in, &room);
                    len = len < room ? len : room;
                    come(&in, stream + at, len);
                    take(&in, &taken);
                    at += len;
                }
            cr_assert_eq(taken, 3u, "cut at %zu and %zu", first, second);
            cr_assert_not(frames_ready(&in));
        }
    frames_in_free(&in);
}

Test(frames, messages_that_come_byte_by_byte_are_there_with_their_last_one)
{
    struct frames_in in;
    unsigned taken = 0;

    cr_assert_eq(frames_in_init(&in, MAX), ERR_OK);
    for (size_t i = 0; i < STREAM; i++) {
        come(&in, stream + i, 1);
        cr_assert_eq(frames_ready(&in), i + 1 == 7 || i + 1 == 11 || i + 1 == STREAM);
        take(&in, &taken);
    }
    cr_assert_eq(taken, 3u);
    frames_in_free(&in);
}

Test(frames, a_message_that_is_too_long_is_refused_before_it_comes)
{
    static const uint8_t head[] = {MAX + 1, 0, 0, 0}, huge[] = {0xff, 0xff, 0xff, 0xff};
    const uint8_t *message;
    struct frames_in in;
    size_t len;

    cr_assert_eq(frames_in_init(&in, MAX), ERR_OK);
    come(&in, head, sizeof head);
    cr_assert(frames_ready(&in));
    cr_assert_eq(frames_next(&in, &message, &len), ERR_TOO_LONG);
    cr_assert_eq(len, MAX + 1u);
    frames_in_clear(&in);
    cr_assert_not(frames_ready(&in));
    come(&in, huge, sizeof huge);
    cr_assert_eq(frames_next(&in, &message, &len), ERR_TOO_LONG);
    frames_in_free(&in);
}

/* ---- over a socket ---- */

static int pair[2];

static void open_pair(void)
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
}

static void close_pair(void)
{
    close(pair[0]);
    if (pair[1] >= 0)
        close(pair[1]);
}

Test(frames, what_is_sent_is_what_comes, .init = open_pair, .fini = close_pair)
{
    struct frames_out out;
    struct frames_in in;
    unsigned taken = 0;

    frames_out_init(&out, 0);
    cr_assert_eq(frames_in_init(&in, MAX), ERR_OK);
    cr_assert_eq(frames_read(&in, pair[1]), ERR_AGAIN);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(frames_send(&out, pair[0], messages[i], strlen(messages[i])),
                     ERR_OK);
    while (frames_read(&in, pair[1]) == ERR_OK)
        take(&in, &taken);
    cr_assert_eq(taken, 3u);
    cr_assert_null(out.bytes, "nothing had to be kept");
    frames_in_free(&in);
}

/* As many messages as a full socket, and what is kept, hold; each begins with its number. */
enum { LONG = 1000, KEEP = 1024 * 1024 };

static uint32_t send_until_full(struct frames_out *out)
{
    uint32_t sent = 0;
    uint8_t bytes[LONG] = {0};

    while (frames_kept(out) + LONG + FRAMES_HEAD <= KEEP) {
        memcpy(bytes, &sent, sizeof sent);
        cr_assert_eq(frames_send(out, pair[0], bytes, sizeof bytes), ERR_OK);
        sent++;
    }
    return sent;
}

static void take_long(struct frames_in *in, uint32_t *taken)
{
    const uint8_t *message;
    size_t len;

    while (frames_next(in, &message, &len) == ERR_OK) {
        cr_assert_eq(len, (size_t)LONG);
        cr_assert_eq(memcmp(message, taken, sizeof *taken), 0);
        ++*taken;
    }
}

Test(frames, what_a_full_socket_does_not_take_is_kept_and_goes_on_in_order,
     .init = open_pair, .fini = close_pair)
{
    struct frames_out out;
    struct frames_in in;
    uint32_t sent, taken = 0, more = 0;

    frames_out_init(&out, KEEP);
    cr_assert_eq(frames_in_init(&in, LONG), ERR_OK);
    sent = send_until_full(&out);
    cr_assert_eq(frames_flush(&out, pair[0]), ERR_AGAIN);
    while (taken < sent) {
        enum err err = frames_flush(&out, pair[0]);

        cr_assert(err == ERR_OK || err == ERR_AGAIN);
        cr_assert_eq(frames_read(&in, pair[1]), ERR_OK);
        take_long(&in, &taken);
        /* And more behind it, which the socket had room for. */
        if (more == 0 && out.start >= FRAMES_HEAD + LONG && frames_kept(&out) > 0) {
            uint8_t bytes[LONG] = {0};

            while (frames_read(&in, pair[1]) == ERR_OK)
                take_long(&in, &taken);
            memcpy(bytes, &sent, sizeof sent);
            cr_assert_eq(frames_send(&out, pair[0], bytes, sizeof bytes), ERR_OK);
            more++;
            sent++;
        }
    }
    cr_assert_eq(more, 1u);
    cr_assert_eq(frames_kept(&out), 0u);
    frames_in_free(&in);
    frames_out_free(&out);
}

Test(frames, no_more_is_kept_than_was_agreed, .init = open_pair, .fini = close_pair)
{
    static const uint8_t bytes[LONG];
    struct frames_out out;

    frames_out_init(&out, KEEP);
    send_until_full(&out);
    cr_assert_eq(frames_send(&out, pair[0], bytes, sizeof bytes), ERR_FULL);
    frames_out_free(&out);
}

Test(frames, an_end_that_closes_is_told_after_what_it_has_sent, .init = open_pair,
     .fini = close_pair)
{
    struct frames_out out;
    struct frames_in in;
    const uint8_t *message;
    size_t len;

    frames_out_init(&out, KEEP);
    cr_assert_eq(frames_in_init(&in, MAX), ERR_OK);
    cr_assert_eq(frames_send(&out, pair[1], "last", 4), ERR_OK);
    close(pair[1]);
    pair[1] = -1;
    cr_assert_eq(frames_read(&in, pair[0]), ERR_OK);
    cr_assert_eq(frames_next(&in, &message, &len), ERR_OK);
    cr_assert_eq(frames_read(&in, pair[0]), ERR_NOT_FOUND);
    cr_assert_eq(frames_send(&out, pair[0], "late", 4), ERR_IO, "and no SIGPIPE");
    frames_in_free(&in);
}

/* tests/unit/test_dial.c: asking the state process, and not waiting for ever. */
#include "common/dial.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/ipc.h"
#include "tests/lib/temp_dir.h"

enum { MAX = 100, SOON_MS = 10000, SHORT_MS = 30 };

#define PATH "there"

static char folder[TEMP_DIR_MAX];
static struct dial dial;
static int listener = -1, accepted = -1;

static void init(void)
{
    temp_dir_enter(folder);
    cr_assert_eq(dial_init(&dial, PATH, MAX, MAX), ERR_OK);
}

static void fini(void)
{
    dial_free(&dial);
    if (listener >= 0)
        close(listener);
    if (accepted >= 0)
        close(accepted);
    temp_dir_remove(folder);
}

TestSuite(dial, .init = init, .fini = fini);

static uint64_t in_ms(unsigned ms)
{
    return clock_mono_ms() + ms;
}

static void be_there(void)
{
    listener = ipc_listen(PATH);
    cr_assert_geq(listener, 0);
}

static void meet(void)
{
    be_there();
    cr_assert_eq(dial_connect(&dial, in_ms(SOON_MS)), ERR_OK);
    accepted = accept(listener, NULL, NULL);
    cr_assert_geq(accepted, 0);
}

Test(dial, where_nobody_listens_it_gives_up_in_time)
{
    uint64_t begun = clock_mono_ms();

    cr_assert_eq(dial_connect(&dial, in_ms(SHORT_MS)), ERR_AGAIN);
    cr_assert_geq(clock_mono_ms() - begun, (uint64_t)SHORT_MS);
    be_there();
    close(listener);
    listener = -1;
    cr_assert_eq(dial_connect(&dial, in_ms(SHORT_MS)), ERR_AGAIN, "nor behind a file");
}

static void *come_later(void *arg)
{
    (void)arg;
    usleep(SHORT_MS * 1000);
    be_there();
    return NULL;
}

Test(dial, somebody_who_comes_a_moment_later_is_found)
{
    pthread_t thread;

    cr_assert_eq(pthread_create(&thread, NULL, come_later, NULL), 0);
    cr_assert_eq(dial_connect(&dial, in_ms(SOON_MS)), ERR_OK);
    pthread_join(thread, NULL);
}

Test(dial, a_wait_for_an_answer_ends_in_time_and_keeps_the_connection)
{
    const uint8_t *message;
    struct frames_out out;
    size_t len;

    meet();
    cr_assert_eq(dial_receive(&dial, &message, &len, in_ms(SHORT_MS)), ERR_AGAIN);
    frames_out_init(&out, 0);
    cr_assert_eq(frames_send(&out, accepted, "now", 3), ERR_OK);
    cr_assert_eq(dial_receive(&dial, &message, &len, in_ms(SOON_MS)), ERR_OK);
    cr_assert_eq(len, 3u);
    cr_assert_eq(memcmp(message, "now", 3), 0);
}

Test(dial, an_end_that_closes_is_told_apart_from_one_that_is_slow)
{
    const uint8_t *message;
    size_t len;

    meet();
    close(accepted);
    accepted = -1;
    cr_assert_eq(dial_receive(&dial, &message, &len, in_ms(SOON_MS)), ERR_NOT_FOUND);
    cr_assert_eq(dial_send(&dial, "x", 1, in_ms(SOON_MS)), ERR_NOT_FOUND);
}

Test(dial, one_who_does_not_read_is_not_waited_for_longer_than_was_said)
{
    static const uint8_t bytes[MAX];
    enum err err = ERR_OK;

    meet();
    for (int i = 0; i < 100000 && err == ERR_OK; i++)
        err = dial_send(&dial, bytes, sizeof bytes, in_ms(SHORT_MS));
    cr_assert_eq(err, ERR_AGAIN);
    cr_assert_lt(dial.fd, 0, "half a message may have gone");
}

Test(dial, a_message_that_is_too_long_is_not_sent)
{
    static const uint8_t bytes[MAX + 1];

    meet();
    cr_assert_eq(dial_send(&dial, bytes, sizeof bytes, in_ms(SOON_MS)), ERR_TOO_LONG);
    cr_assert_eq(dial_send(&dial, bytes, MAX, in_ms(SOON_MS)), ERR_OK);
}

Test(dial, somebody_who_only_takes_connections_to_close_them_is_not_asked_without_a_pause)
{
    unsigned times = 0;
    uint64_t end;

    be_there();
    end = in_ms(3 * DIAL_TRY_MS);
    while (dial_connect(&dial, end) == ERR_OK) {
        dial_close(&dial);
        times++;
    }
    cr_assert_leq(times, 4u);
}

Test(dial, a_path_that_is_too_long_for_a_socket_is_told)
{
    struct dial far;
    char path[200];

    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    cr_assert_eq(dial_init(&far, path, MAX, MAX), ERR_OK);
    cr_assert_eq(dial_connect(&far, in_ms(SOON_MS)), ERR_IO);
    cr_assert_eq(errno, ENAMETOOLONG);
    dial_free(&far);
}

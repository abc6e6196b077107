/* tests/unit/test_doors.c: the state process's end of the IPC: who is let in, whose turn it is, and who is cut off. */
#include "replica/doors.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/dial.h"
#include "common/ipc.h"
#include "common/log.h"
#include "tests/lib/temp_dir.h"

enum { MAX = 1000, UNREAD = 256 * 1024, GUESTS = 4, SOON_MS = 10000, AT_ONCE_MS = 1 };

#define PATH "door"

static char folder[TEMP_DIR_MAX];
static struct door *door;

static void open_door(void)
{
    const struct door_config config = {.path = PATH,
                                       .guest = "a guest",
                                       .receive_max = MAX,
                                       .send_max = UNREAD,
                                       .guests = GUESTS};

    cr_assert_eq(door_open(&config, &door), ERR_OK);
}

static void init(void)
{
    log_init("test", LOG_LEVEL_NONE);
    temp_dir_enter(folder);
    open_door();
}

static void fini(void)
{
    door_close(door);
    temp_dir_remove(folder);
}

TestSuite(doors, .init = init, .fini = fini);

/* What was taken, in its order. */
static struct {
    unsigned count;
    uint64_t from[64];
    char text[64];
    unsigned enough; /* take no more than so many in one turn; 0: as many as may be */
} taken;

static bool take(void *arg, uint64_t guest, const uint8_t *message, size_t len)
{
    (void)arg;
    taken.from[taken.count] = guest;
    taken.text[taken.count] = len > 0 ? (char)message[0] : ' ';
    taken.count++;
    return taken.enough == 0 || taken.count % taken.enough != 0;
}

static bool is_readable(int within_ms)
{
    struct pollfd at = {.fd = door_fd(door), .events = POLLIN};

    return poll(&at, 1, within_ms) == 1;
}

/* One turn, when there is something to do. */
static void turn(unsigned most)
{
    cr_assert(is_readable(SOON_MS), "nothing to do");
    door_take(door, most, take, NULL);
}

static void take_until(unsigned count)
{
    while (taken.count < count)
        turn(GUESTS);
}

static struct dial visit(void)
{
    struct dial dial;

    cr_assert_eq(dial_init(&dial, PATH, 64 * MAX, MAX), ERR_OK);
    cr_assert_eq(dial_connect(&dial, clock_mono_ms() + SOON_MS), ERR_OK);
    return dial;
}

static void say(struct dial *dial, const char *text)
{
    cr_assert_eq(dial_send(dial, text, strlen(text), clock_mono_ms() + SOON_MS), ERR_OK);
}

static void hears(struct dial *dial, const char *text)
{
    const uint8_t *message;
    size_t len;

    cr_assert_eq(dial_receive(dial, &message, &len, clock_mono_ms() + SOON_MS), ERR_OK);
    cr_assert_eq(len, strlen(text));
    cr_assert_eq(memcmp(message, text, len), 0);
}

static enum err hears_nothing(struct dial *dial, unsigned within_ms)
{
    const uint8_t *message;
    size_t len;

    return dial_receive(dial, &message, &len, clock_mono_ms() + within_ms);
}

static void is_ended(struct dial *dial)
{
    cr_assert_eq(hears_nothing(dial, SOON_MS), ERR_NOT_FOUND);
}

Test(doors, an_answer_goes_to_whoever_has_asked)
{
    struct dial one = visit(), other = visit();

    say(&one, "1");
    take_until(1);
    say(&other, "2");
    take_until(2);
    cr_assert_neq(taken.from[0], taken.from[1]);
    door_send(door, taken.from[1], "two", 3);
    door_send(door, taken.from[0], "one", 3);
    hears(&one, "one");
    hears(&other, "two");
    dial_free(&one);
    dial_free(&other);
}

Test(doors, an_answer_for_one_who_has_gone_reaches_nobody_who_came_later)
{
    struct dial one = visit(), other;

    say(&one, "1");
    take_until(1);
    dial_close(&one);
    while (door_guests(door) > 0)
        turn(GUESTS);
    other = visit();
    say(&other, "2");
    take_until(2);
    door_send(door, taken.from[0], "late", 4);
    door_send(door, taken.from[1], "right", 5);
    hears(&other, "right");
    dial_free(&one);
    dial_free(&other);
}

Test(doors, guests_take_turns_however_much_one_of_them_says)
{
    struct dial loud = visit(), quiet = visit();

    for (int i = 0; i < 6; i++)
        say(&loud, "L");
    say(&quiet, "q");
    turn(GUESTS); /* lets in */
    turn(2);
    cr_assert_eq(taken.count, 2u);
    cr_assert(memchr(taken.text, 'q', 2) != NULL);
    dial_free(&loud);
    dial_free(&quiet);
}

Test(doors, what_was_read_and_not_taken_keeps_the_door_readable)
{
    struct dial dial = visit();

    for (int i = 0; i < 5; i++)
        say(&dial, "x");
    turn(GUESTS); /* lets in */
    turn(1);
    cr_assert_eq(taken.count, 1u);
    for (unsigned i = 2; i <= 5; i++) {
        turn(1);
        cr_assert_eq(taken.count, i);
    }
    cr_assert_not(is_readable(AT_ONCE_MS), "and is at rest then");
    dial_free(&dial);
}

Test(doors, what_was_said_before_leaving_is_taken_all_the_same)
{
    struct dial dial = visit();

    for (int i = 0; i < 3; i++)
        say(&dial, "x");
    dial_close(&dial);
    turn(1); /* lets in */
    while (door_guests(door) > 0)
        turn(1);
    cr_assert_eq(taken.count, 3u);
    dial_free(&dial);
}

Test(doors, who_takes_messages_may_say_that_it_is_enough_for_now)
{
    struct dial dial = visit();

    taken.enough = 1;
    for (int i = 0; i < 3; i++)
        say(&dial, "x");
    turn(GUESTS); /* lets in */
    turn(GUESTS);
    cr_assert_eq(taken.count, 1u);
    turn(GUESTS);
    cr_assert_eq(taken.count, 2u);
    dial_free(&dial);
}

Test(doors, a_message_that_is_too_long_ends_its_connection_and_no_other)
{
    static char longest[MAX + 1], too_long[MAX + 2];
    struct dial good = visit(), bad = visit();

    memset(longest, 'x', MAX);
    memset(too_long, 'x', MAX + 1);
    say(&bad, too_long);
    say(&good, longest);
    take_until(1);
    while (door_guests(door) > 1)
        turn(GUESTS);
    is_ended(&bad);
    cr_assert_eq(taken.count, 1u);
    door_send(door, taken.from[0], "fine", 4);
    hears(&good, "fine");
    dial_free(&good);
    dial_free(&bad);
}

Test(doors, who_does_not_read_its_answers_is_cut_off_and_nobody_waits_for_it)
{
    static const char answer[MAX];
    struct dial dial = visit();

    say(&dial, "x");
    take_until(1);
    for (int i = 0; i < 10000 && door_guests(door) > 0; i++) {
        door_send(door, taken.from[0], answer, sizeof answer);
        door_take(door, GUESTS, take, NULL);
    }
    cr_assert_eq(door_guests(door), 0u);
    dial_free(&dial);
}

Test(doors, an_answer_that_does_not_fit_the_socket_arrives_in_the_end)
{
    static const char answer[MAX];
    const uint8_t *message;
    struct dial dial = visit();
    size_t len;

    say(&dial, "x");
    take_until(1);
    /* More than a socket takes without being told to, and less than may be left unread. */
    for (int i = 0; i < 230; i++)
        door_send(door, taken.from[0], answer, sizeof answer);
    for (int i = 0; i < 230; i++) {
        cr_assert_eq(dial_receive(&dial, &message, &len, clock_mono_ms() + SOON_MS),
                     ERR_OK);
        cr_assert_eq(len, sizeof answer);
        door_take(door, GUESTS, take, NULL);
    }
    cr_assert_eq(door_guests(door), 1u);
    cr_assert_not(is_readable(AT_ONCE_MS), "it does not wait for room any more");
    dial_free(&dial);
}

Test(doors, for_one_too_many_the_one_that_was_silent_longest_has_to_go)
{
    struct dial dials[GUESTS + 1];

    for (int i = 0; i < GUESTS; i++) {
        dials[i] = visit();
        say(&dials[i], "x");
        take_until((unsigned)i + 1);
    }
    say(&dials[0], "x");
    take_until(GUESTS + 1);
    dials[GUESTS] = visit();
    say(&dials[GUESTS], "new");
    take_until(GUESTS + 2);
    is_ended(&dials[1]);
    cr_assert_eq(door_guests(door), (unsigned)GUESTS);
    cr_assert_eq(hears_nothing(&dials[0], AT_ONCE_MS), ERR_AGAIN, "it is still there");
    for (int i = 0; i <= GUESTS; i++)
        dial_free(&dials[i]);
}

Test(doors, a_connection_that_ends_while_it_is_made_shuts_nobody_out)
{
    struct dial gone = visit(), dial;

    dial_close(&gone);
    dial = visit();
    say(&dial, "x");
    take_until(1);
    cr_assert_eq(door_guests(door), 1u);
    dial_free(&gone);
    dial_free(&dial);
}

Test(doors, where_no_descriptor_is_left_guests_are_shown_out_and_the_door_comes_to_rest)
{
    struct rlimit limit, before;
    struct dial dial = visit(), other;
    int lowest = dup(STDIN_FILENO);

    cr_assert_geq(lowest, 0);
    close(lowest);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = (struct rlimit){(rlim_t)lowest, before.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int i = 0; i < 10 && is_readable(AT_ONCE_MS); i++)
        door_take(door, GUESTS, take, NULL);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    is_ended(&dial);
    other = visit();
    say(&other, "x");
    take_until(1);
    dial_free(&dial);
    dial_free(&other);
}

Test(doors, the_next_process_takes_the_place_of_one_that_ended)
{
    struct dial dial = visit();

    say(&dial, "x");
    take_until(1);
    door_close(door);
    is_ended(&dial);
    cr_assert_eq(access(PATH, F_OK), 0);
    cr_assert_lt(ipc_connect(PATH), 0);
    open_door();
    cr_assert_eq(dial_connect(&dial, clock_mono_ms() + SOON_MS), ERR_OK);
    say(&dial, "y");
    take_until(2);
    dial_free(&dial);
}

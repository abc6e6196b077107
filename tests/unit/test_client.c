/* tests/unit/test_client.c: a worker's end of the IPC, with a state process that comes, goes and comes again. */
#include "server/client.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/dial.h"
#include "common/ipc.h"
#include "common/log.h"
#include "replica/doors.h"
#include "tests/lib/temp_dir.h"

enum { ANSWER_MS = 60000, TRIES = 2000, STEP_MS = 5 };

static char folder[TEMP_DIR_MAX];
static int epoll, counted;
static struct client *client;
static struct door *door;
static enum err failed;

/* The state process: what came last, and what it says to a HELLO and to a count. */
static unsigned hellos, asked, welcome_version = MSG_VERSION;
static bool welcomes = true, answers = true;
static struct msg_count_req request;

static void on_counted(void *owner, const struct msg_count_rep *rep)
{
    cr_assert_eq(owner, &counted);
    cr_assert_eq(rep->number, 7);
    counted++;
}

static const struct asks_owner owner = {.counted = on_counted};

static void start_state(void)
{
    const struct door_config config = {.path = IPC_WORKERS_PATH,
                                       .guest = "a worker",
                                       .receive_max = MSG_MAX,
                                       .send_max = MSG_MAX,
                                       .guests = 4};

    cr_assert_eq(door_open(&config, &door), ERR_OK);
}

static void stop_state(void)
{
    door_close(door);
    door = NULL;
}

static void init(void)
{
    log_init("test", LOG_LEVEL_NONE);
    temp_dir_enter(folder);
    cr_assert_eq(mkdir(IPC_FOLDER, 0700), 0);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    cr_assert_geq(epoll, 0);
    cr_assert_eq(client_new(ANSWER_MS, &owner, epoll, &client, &client), ERR_OK);
}

static void fini(void)
{
    client_free(client);
    door_close(door);
    close(epoll);
    temp_dir_remove(folder);
}

TestSuite(client, .init = init, .fini = fini);

static void answer_hello(uint64_t worker)
{
    const struct position here = {.number = 1};
    uint8_t bytes[MSG_HEADER_SIZE + MSG_WELCOME_SIZE];
    struct writer w = writer_of(bytes, sizeof bytes);

    msg_begin(&w, MSG_WELCOME);
    msg_put_welcome(&w, &here);
    msg_end(&w, 1);
    bytes[MSG_HEADER_SIZE] = (uint8_t)welcome_version;
    door_send(door, worker, bytes, w.len);
}

static void answer_count(uint64_t worker)
{
    const struct msg_count_rep rep = {
        .id = request.id, .number = 7, .total = 7, .status = STATUS_FINAL};
    uint8_t bytes[MSG_HEADER_SIZE + MSG_COUNT_REP_SIZE];
    struct writer w = writer_of(bytes, sizeof bytes);

    msg_begin(&w, MSG_COUNT_REP);
    msg_put_count_rep(&w, &rep);
    msg_end(&w, 1);
    door_send(door, worker, bytes, w.len);
}

static bool take(void *arg, uint64_t worker, const uint8_t *message, size_t len)
{
    struct reader r = reader_of(message, len);
    enum msg_type type;
    unsigned items;

    (void)arg;
    cr_assert_eq(msg_read_header(&r, &type, &items), ERR_OK);
    if (type == MSG_HELLO) {
        hellos++;
        if (welcomes)
            answer_hello(worker);
        return true;
    }
    cr_assert_eq(type, MSG_COUNT_REQ);
    cr_assert_eq(items, 1u);
    cr_assert_eq(msg_read_count_req(&r, &request), ERR_OK);
    asked++;
    if (answers)
        answer_count(worker);
    return true;
}

/* One turn of the worker's loop, and one of the state process's. */
static void turn(void)
{
    struct epoll_event event;

    if (door != NULL)
        door_take(door, 4, take, NULL);
    if (epoll_wait(epoll, &event, 1, STEP_MS) == 1) {
        cr_assert_eq(event.data.ptr, &client);
        failed = client_receive(client, clock_mono_ms());
    }
    client_send(client, 1, clock_mono_ms());
}

#define TURN_UNTIL(what)                             \
    for (int tries = 0; !(what); tries++) {          \
        cr_assert_lt(tries, TRIES, "never: " #what); \
        turn();                                      \
    }

static void count(void)
{
    struct msg_count_req req = {.amount = 1, .name_len = 4, .name = "hits"};

    memset(req.id.byte, 1, sizeof req.id.byte);
    cr_assert_not_null(asks_count(client_asks(client), &req, &counted, clock_mono_ms()));
}

Test(client, a_count_waits_for_a_state_process_and_is_asked_once)
{
    count();
    for (int i = 0; i < 10; i++)
        turn();
    cr_assert_not(client_served(client));
    start_state();
    TURN_UNTIL(counted == 1);
    cr_assert(client_served(client));
    cr_assert_eq(hellos, 1u);
    cr_assert_eq(asked, 1u);
}

Test(client, a_count_that_was_not_answered_is_asked_again_of_the_next_state_process)
{
    struct id first;

    answers = false;
    start_state();
    count();
    TURN_UNTIL(asked == 1);
    first = request.id;
    stop_state();
    for (int i = 0; i < 10; i++)
        turn();
    answers = true;
    start_state();
    TURN_UNTIL(counted == 1);
    cr_assert_eq(hellos, 2u);
    cr_assert(id_equal(&first, &request.id));
}

Test(
    client,
    while_nobody_is_there_it_tries_again_within_a_tenth_of_a_second_and_not_without_a_pause)
{
    uint64_t now = 1000000;

    for (int i = 0; i < 10; i++) {
        client_send(client, 0, now);
        cr_assert_gt(client_due_ms(client), now);
        cr_assert_leq(client_due_ms(client), now + 100);
        now = client_due_ms(client);
    }
}

Test(client, nothing_is_asked_before_the_next_state_process_has_said_where_it_is)
{
    start_state();
    TURN_UNTIL(client_served(client));
    stop_state();
    welcomes = false;
    start_state();
    TURN_UNTIL(hellos == 2);
    count();
    for (int i = 0; i < 10; i++)
        turn();
    cr_assert_eq(asked, 0u);
}

Test(client, a_state_process_of_another_version_is_told)
{
    welcome_version = MSG_VERSION + 1;
    start_state();
    TURN_UNTIL(failed == ERR_VERSION);
}

Test(client, bytes_that_are_no_message_end_the_connection_and_another_is_made)
{
    static const uint8_t junk[] = {0xff, 0xff, 0xff, 0xff, 0xff};
    int listener = ipc_listen(IPC_WORKERS_PATH), fd;

    client_send(client, 0, clock_mono_ms());
    fd = accept(listener, NULL, NULL);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, junk, sizeof junk), (ssize_t)sizeof junk);
    close(listener);
    start_state();
    TURN_UNTIL(client_served(client));
    close(fd);
}

Test(client, a_state_process_that_stands_still_keeps_no_worker_busy)
{
    unsigned turns = 0;
    uint64_t end;

    answers = false;
    start_state();
    count();
    TURN_UNTIL(asked == 1);
    end = clock_mono_ms() + 200;
    while (clock_mono_ms() < end) {
        struct epoll_event event;
        uint64_t now = clock_mono_ms(), due = client_due_ms(client);

        cr_assert_gt(due, now, "it would turn without a pause");
        epoll_wait(epoll, &event, 1, (int)(due < end ? due - now : end - now));
        client_send(client, 1, clock_mono_ms());
        turns++;
    }
    cr_assert_lt(turns, 10u);
}

/* What a worker asks the state process, when again, and whose answer is whose. */
#include <criterion/criterion.h>
#include <string.h>

#include "server/asks.h"

enum { ANSWER_MS = 10000 };

static struct asks *asks;
static uint8_t buffer[MSG_MAX];

/* An owner is the address of one of these. */
struct caller {
    int answers;
    struct msg_count_rep count;
    struct msg_get_rep get;
    bool asks_again;
};

static struct msg_count_req request(uint8_t id)
{
    struct msg_count_req req = {.amount = 1, .name_len = 4, .name = "hits"};

    memset(req.id.byte, id, sizeof req.id.byte);
    return req;
}

static void counted(void *owner, const struct msg_count_rep *rep)
{
    struct caller *caller = owner;
    const struct msg_count_req again = request(0xee);

    caller->answers++;
    caller->count = *rep;
    if (caller->asks_again) {
        caller->asks_again = false;
        asks_count(asks, &again, caller, 0);
    }
}

static void got(void *owner, const struct msg_get_rep *rep)
{
    struct caller *caller = owner;

    caller->answers++;
    caller->get = *rep;
}

static const struct asks_owner owners = {counted, got};

static void setup(void)
{
    asks = asks_new(ANSWER_MS, &owners);
}

static void teardown(void)
{
    asks_free(asks);
}

TestSuite(asks, .init = setup, .fini = teardown);

static struct position place(uint64_t number)
{
    struct position p = {.number = number};

    memset(p.stream.byte, 0x51, sizeof p.stream.byte);
    return p;
}

static void welcome(uint64_t number)
{
    const struct position p = place(number);
    struct writer w = writer_of(buffer, sizeof buffer);

    msg_begin(&w, MSG_WELCOME);
    msg_put_welcome(&w, &p);
    msg_end(&w, 1);
    cr_assert_eq(asks_answer(asks, buffer, w.len, 0), ERR_OK);
    cr_assert(asks_connected(asks));
}

static struct ask *count(uint8_t id, struct caller *caller, uint64_t now_ms)
{
    const struct msg_count_req req = request(id);

    return asks_count(asks, &req, caller, now_ms);
}

static struct ask *get(uint8_t id, struct caller *caller)
{
    struct msg_get_req req = {.name_len = 4, .name = "hits"};

    memset(req.id.byte, id, sizeof req.id.byte);
    return asks_get(asks, &req, caller, 0);
}

static size_t calls = 2; /* of the worker: with so few, nothing is worth gathering for */

/* The message to send now: its items, 0 for none. */
static unsigned next(uint64_t now_ms, enum msg_type *type, struct msg_count_req *reqs)
{
    struct writer w = writer_of(buffer, sizeof buffer);
    struct reader r;
    unsigned items;

    if (!asks_next(asks, &w, calls, now_ms))
        return 0;
    r = reader_of(buffer, w.len);
    cr_assert_eq(msg_read_header(&r, type, &items), ERR_OK);
    for (unsigned i = 0; i < items && *type == MSG_COUNT_REQ; i++)
        cr_assert_eq(msg_read_count_req(&r, &reqs[i]), ERR_OK);
    return items;
}

static void answer(uint8_t id, int64_t number, uint64_t now_ms)
{
    struct msg_count_rep rep = {
        .number = number, .total = number, .status = STATUS_FINAL};
    struct writer w = writer_of(buffer, sizeof buffer);

    memset(rep.id.byte, id, sizeof rep.id.byte);
    msg_begin(&w, MSG_COUNT_REP);
    msg_put_count_rep(&w, &rep);
    msg_end(&w, 1);
    cr_assert_eq(asks_answer(asks, buffer, w.len, now_ms), ERR_OK);
}

static void answer_get(uint8_t id, int64_t total)
{
    struct msg_get_rep rep = {.total = total, .status = STATUS_FINAL};
    struct writer w = writer_of(buffer, sizeof buffer);

    memset(rep.id.byte, id, sizeof rep.id.byte);
    msg_begin(&w, MSG_GET_REP);
    msg_put_get_rep(&w, &rep);
    msg_end(&w, 1);
    cr_assert_eq(asks_answer(asks, buffer, w.len, 0), ERR_OK);
}

static void tell_position(uint64_t number)
{
    const struct position p = place(number);
    struct writer w = writer_of(buffer, sizeof buffer);

    msg_begin(&w, MSG_POSITION);
    msg_put_position(&w, &p);
    msg_end(&w, 1);
    cr_assert_eq(asks_answer(asks, buffer, w.len, 0), ERR_OK);
}

Test(asks, nothing_is_sent_before_the_first_welcome)
{
    struct msg_count_req reqs[4];
    struct caller a = {0};
    enum msg_type type;

    count(1, &a, 0);
    cr_assert_eq(next(0, &type, reqs), 0);
    welcome(7);
    cr_assert_eq(next(0, &type, reqs), 1);
    cr_assert_eq(reqs[0].heard.number, 7);
}

Test(asks, what_gathers_while_a_message_is_under_way_makes_the_next_one)
{
    struct msg_count_req reqs[4];
    struct caller a = {0}, b = {0}, c = {0};
    enum msg_type type;

    welcome(0);
    count(1, &a, 0);
    cr_assert_eq(next(0, &type, reqs), 1);
    count(2, &b, 0);
    count(3, &c, 0);
    cr_assert_eq(next(0, &type, reqs), 0, "one message at a time");
    answer(1, 41, 1);
    cr_assert_eq(a.count.number, 41);
    cr_assert_eq(next(1, &type, reqs), 2);
    cr_assert_eq(reqs[0].id.byte[0], 2);
    cr_assert_eq(reqs[1].id.byte[0], 3);
}

Test(asks, the_next_message_waits_until_every_item_of_the_one_before_is_answered)
{
    struct msg_count_req reqs[4];
    struct caller a = {0}, b = {0}, c = {0};
    enum msg_type type;

    welcome(0);
    count(1, &a, 0);
    count(2, &b, 0);
    cr_assert_eq(next(0, &type, reqs), 2);
    count(3, &c, 0);
    answer(2, 2, 1);
    cr_assert_eq(next(1, &type, reqs), 0);
    answer(1, 1, 2);
    cr_assert_eq(next(2, &type, reqs), 1);
    cr_assert_eq(a.count.number, 1);
    cr_assert_eq(b.count.number, 2);
}

Test(asks, a_message_without_an_answer_is_sent_again_with_the_same_ids_and_heard_position)
{
    struct msg_count_req first[4] = {0}, second[4] = {0};
    struct caller a = {0}, b = {0};
    enum msg_type type;

    welcome(7);
    count(1, &a, 0);
    count(2, &b, 0);
    cr_assert_eq(next(0, &type, first), 2);
    tell_position(9);
    cr_assert_eq(next(ASKS_RESEND_MS - 1, &type, second), 0);
    cr_assert_eq(asks_due_ms(asks), ASKS_RESEND_MS);
    cr_assert_eq(next(ASKS_RESEND_MS, &type, second), 2);
    cr_assert_arr_eq(first, second, 2 * sizeof *first);
    cr_assert_eq(asks_resends(asks), 1);
}

Test(asks, what_was_under_way_when_the_connection_broke_is_sent_again_at_the_next_welcome)
{
    struct msg_count_req reqs[4];
    struct caller a = {0}, b = {0};
    enum msg_type type;

    welcome(7);
    count(1, &a, 0);
    cr_assert_eq(next(0, &type, reqs), 1);
    asks_disconnected(asks);
    count(2, &b, 1);
    cr_assert_eq(next(5000, &type, reqs), 0, "there is nobody to ask");
    welcome(8);
    cr_assert_eq(asks_due_ms(asks), 0);
    cr_assert_eq(next(5000, &type, reqs), 1);
    cr_assert_eq(reqs[0].id.byte[0], 1);
    cr_assert_eq(reqs[0].heard.number, 7, "what it heard when it was first asked");
    answer(1, 1, 5001);
    cr_assert_eq(next(5001, &type, reqs), 1);
    cr_assert_eq(reqs[0].heard.number, 8, "this one was never asked before");
}

Test(asks, a_question_takes_the_position_heard_last_before_it_is_first_sent)
{
    struct msg_count_req reqs[4];
    struct caller a = {0}, b = {0};
    enum msg_type type;

    welcome(7);
    count(1, &a, 0);
    next(0, &type, reqs);
    count(2, &b, 0);
    tell_position(12);
    answer(1, 1, 1);
    cr_assert_eq(next(1, &type, reqs), 1);
    cr_assert_eq(reqs[0].heard.number, 12);
}

Test(asks, a_count_given_up_after_it_was_sent_is_unknown)
{
    struct msg_count_req reqs[4];
    struct caller a = {0};
    enum msg_type type;

    welcome(0);
    count(1, &a, 0);
    next(0, &type, reqs);
    asks_expire(asks, ANSWER_MS - 1);
    cr_assert_eq(a.answers, 0);
    asks_expire(asks, ANSWER_MS);
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.count.status, STATUS_UNKNOWN);
    cr_assert_eq(asks_open(asks), 0, "it is not asked any more");
    answer(1, 1, ANSWER_MS);
    cr_assert_eq(a.answers, 1, "an answer that is too late finds nobody");
}

Test(asks, a_count_given_up_before_it_was_sent_is_unavailable)
{
    struct caller a = {0};

    count(1, &a, 0);
    cr_assert_eq(asks_due_ms(asks), ANSWER_MS);
    asks_expire(asks, ANSWER_MS);
    cr_assert_eq(a.count.status, STATUS_UNAVAILABLE);
}

Test(asks, a_get_that_is_given_up_is_unavailable)
{
    struct msg_count_req reqs[4];
    struct caller a = {0};
    enum msg_type type;

    welcome(0);
    get(1, &a);
    cr_assert_eq(next(0, &type, reqs), 1);
    asks_expire(asks, ANSWER_MS);
    cr_assert_eq(a.get.status, STATUS_UNAVAILABLE);
}

Test(asks, a_count_whose_caller_left_is_asked_until_it_is_answered_and_tells_nobody)
{
    struct msg_count_req reqs[4];
    struct caller a = {0};
    enum msg_type type;

    welcome(0);
    asks_forget(asks, count(1, &a, 0));
    cr_assert_eq(next(0, &type, reqs), 1);
    cr_assert_eq(next(ASKS_RESEND_MS, &type, reqs), 1);
    answer(1, 1, ASKS_RESEND_MS);
    cr_assert_eq(a.answers, 0);
    cr_assert_eq(asks_open(asks), 0);
}

Test(asks, a_get_whose_caller_left_is_not_asked_any_more)
{
    struct msg_count_req reqs[4];
    struct caller a = {0};
    enum msg_type type;

    welcome(0);
    asks_forget(asks, get(1, &a));
    cr_assert_eq(next(0, &type, reqs), 0);
    cr_assert_eq(asks_open(asks), 0);
}

Test(asks, counts_and_gets_take_turns)
{
    struct msg_count_req reqs[4];
    struct caller a = {0}, b = {0}, c = {0};
    enum msg_type type;

    welcome(0);
    count(1, &a, 0);
    cr_assert_eq(next(0, &type, reqs), 1);
    count(2, &b, 0);
    get(3, &c);
    answer(1, 1, 0);
    cr_assert_eq(next(0, &type, reqs), 1);
    cr_assert_eq(type, MSG_GET_REQ);
    answer_get(3, 77);
    cr_assert_eq(c.get.total, 77);
    cr_assert_eq(next(0, &type, reqs), 1);
    cr_assert_eq(type, MSG_COUNT_REQ);
}

/* An answer names nothing but the id, and the second may get another one than the first.
 * */
Test(asks, two_counts_of_one_id_are_never_under_way_together)
{
    struct msg_count_req reqs[4];
    struct caller a = {0}, b = {0}, c = {0};
    enum msg_type type;

    welcome(0);
    count(1, &a, 0);
    count(1, &b, 0);
    count(2, &c, 0);
    cr_assert_eq(next(0, &type, reqs), 2);
    cr_assert_eq(reqs[1].id.byte[0], 2);
    answer(1, 5, 1);
    cr_assert_eq(a.count.number, 5);
    cr_assert_eq(b.answers, 0);
    answer(2, 6, 1);
    cr_assert_eq(next(1, &type, reqs), 1);
    answer(1, 5, 2);
    cr_assert_eq(b.count.number, 5);
}

Test(asks, a_message_takes_no_more_than_its_most_items_and_the_rest_follows)
{
    static struct msg_count_req reqs[MSG_ITEMS_MAX];
    static struct caller callers[MSG_ITEMS_MAX + 10];
    enum msg_type type;

    welcome(0);
    for (size_t i = 0; i < MSG_ITEMS_MAX + 10; i++) {
        struct msg_count_req req = request(0);

        memcpy(req.id.byte, &i, sizeof i);
        cr_assert_not_null(asks_count(asks, &req, &callers[i], 0));
    }
    cr_assert_eq(next(0, &type, reqs), MSG_ITEMS_MAX);
    asks_expire(asks, ANSWER_MS);
    cr_assert_eq(asks_open(asks), 0);
    cr_assert_eq(callers[MSG_ITEMS_MAX - 1].count.status, STATUS_UNKNOWN);
    cr_assert_eq(callers[MSG_ITEMS_MAX].count.status, STATUS_UNAVAILABLE);
}

Test(asks, a_caller_may_ask_again_from_within_his_answer)
{
    struct msg_count_req reqs[4];
    struct caller a = {.asks_again = true};
    enum msg_type type;

    welcome(0);
    count(1, &a, 0);
    next(0, &type, reqs);
    answer(1, 1, 0);
    cr_assert_eq(next(0, &type, reqs), 1);
    cr_assert_eq(reqs[0].id.byte[0], 0xee);
}

Test(asks, a_part_of_the_answers_puts_off_sending_the_message_again)
{
    struct msg_count_req reqs[4];
    struct caller a = {0}, b = {0};
    enum msg_type type;

    welcome(0);
    count(1, &a, 0);
    count(2, &b, 0);
    next(0, &type, reqs);
    answer(1, 1, ASKS_RESEND_MS - 1);
    cr_assert_eq(next(ASKS_RESEND_MS, &type, reqs), 0);
    cr_assert_eq(next(2 * ASKS_RESEND_MS - 1, &type, reqs), 1);
    cr_assert_eq(reqs[0].id.byte[0], 2, "only what has no answer yet");
}

/* Two were under way together, so more may gather. */
static void two_counted_of_many(struct caller *caller)
{
    struct msg_count_req reqs[4];
    enum msg_type type;

    calls = 100;
    welcome(0);
    count(1, caller, 1000);
    count(2, caller, 1000);
    cr_assert_eq(next(1000, &type, reqs), 2);
    answer(1, 1, 1000);
    answer(2, 2, 1000);
}

Test(asks, a_worker_of_many_calls_gathers_for_a_while_after_a_message_of_several)
{
    struct msg_count_req reqs[4];
    struct caller a = {0};
    enum msg_type type;

    two_counted_of_many(&a);
    count(3, &a, 1000);
    cr_assert_eq(next(1000, &type, reqs), 0);
    cr_assert_eq(asks_due_ms(asks), 1000 + ASKS_GATHER_MS);
    count(4, &a, 1001);
    cr_assert_eq(next(1000 + ASKS_GATHER_MS, &type, reqs), 2);
}

Test(asks, nothing_is_waited_for_when_half_of_the_calls_have_asked)
{
    struct msg_count_req reqs[4];
    struct caller a = {0};
    enum msg_type type;

    two_counted_of_many(&a);
    calls = 4;
    count(3, &a, 1000);
    cr_assert_eq(next(1000, &type, reqs), 0);
    count(4, &a, 1000);
    cr_assert_eq(next(1000, &type, reqs), 2);
}

Test(asks, a_lone_question_is_sent_at_once_after_a_lone_one)
{
    struct msg_count_req reqs[4];
    struct caller a = {0};
    enum msg_type type;

    calls = 100;
    welcome(0);
    count(1, &a, 1000);
    cr_assert_eq(next(1000, &type, reqs), 1);
    answer(1, 1, 1000);
    count(2, &a, 1000);
    cr_assert_eq(next(1000, &type, reqs), 1);
}

Test(asks, a_position_and_the_answers_it_covers_may_come_in_one_piece)
{
    const struct msg_count_rep rep = {
        .id = request(1).id, .number = 3, .total = 3, .status = STATUS_FINAL};
    const struct position p = place(20);
    struct writer w, second;
    struct msg_count_req reqs[4];
    struct caller a = {0}, b = {0};
    enum msg_type type;

    welcome(0);
    count(1, &a, 0);
    next(0, &type, reqs);
    w = writer_of(buffer, sizeof buffer);
    msg_begin(&w, MSG_POSITION);
    msg_put_position(&w, &p);
    msg_end(&w, 1);
    second = writer_of(buffer + w.len, sizeof buffer - w.len);
    msg_begin(&second, MSG_COUNT_REP);
    msg_put_count_rep(&second, &rep);
    msg_end(&second, 1);
    cr_assert_eq(asks_answer(asks, buffer, w.len + second.len, 0), ERR_OK);
    cr_assert_eq(a.count.number, 3);
    count(2, &b, 0);
    cr_assert_eq(next(0, &type, reqs), 1);
    cr_assert_eq(reqs[0].heard.number, 20);
}

Test(asks, bytes_that_are_no_message_are_malformed_and_answer_nothing)
{
    struct msg_count_req reqs[4];
    struct caller a = {0};
    enum msg_type type;

    welcome(0);
    count(1, &a, 0);
    next(0, &type, reqs);
    cr_assert_eq(asks_answer(asks, "\x04\x00\x01\x00\x01\x01", 6, 0), ERR_MALFORMED);
    cr_assert_eq(asks_answer(asks, "\x03\x00\x00\x00", 4, 0), ERR_OK);
    cr_assert_eq(asks_answer(asks, "\x63\x00\x01\x00", 4, 0), ERR_MALFORMED);
    cr_assert_eq(asks_answer(asks, "", 0, 0), ERR_MALFORMED);
    cr_assert_eq(a.answers, 0);
}

Test(asks, a_welcome_of_another_version_is_told_and_does_not_connect)
{
    cr_assert_eq(asks_answer(asks, "\x02\x00\x01\x00\x63\x00", 6, 0), ERR_VERSION);
    cr_assert_not(asks_connected(asks));
}

Test(asks, nothing_is_due_when_nothing_is_asked)
{
    welcome(0);
    cr_assert_eq(asks_due_ms(asks), UINT64_MAX);
}

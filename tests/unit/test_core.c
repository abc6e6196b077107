/* tests/unit/test_core.c: what is counted, what is answered, and that the state is a
 * function of the blocks alone. No disk: a "restart" is a new core that reads the blocks
 * that the old one made durable. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/history.h"

enum { REPLIES_MAX = 4096, ROOM = BLOCK_MAX };

static const int64_t total_max = INT64_C(1) << 62;

static struct history history; /* all blocks that are durable */
static struct core *core;
static struct core_config config;
static uint64_t next_stream = 1;

static struct {
    uint64_t ticket;
    struct msg_count_rep rep;
} replies[REPLIES_MAX];
static size_t reply_count;

static void reply(void *arg, uint64_t ticket, const struct msg_count_rep *rep)
{
    (void)arg;
    cr_assert_lt(reply_count, REPLIES_MAX);
    replies[reply_count].ticket = ticket;
    replies[reply_count++].rep = *rep;
}

static void start(void)
{
    config.stream = history_id(next_stream++);
    core = core_new(&config);
    cr_assert_not_null(core);
    cr_assert_eq(history_replay(&history, core), ERR_OK);
}

static void restart(void)
{
    core_free(core);
    start();
}

static void set_up(void)
{
    cr_assert_geq(sodium_init(), 0);
    config = history_config(1, 1);
    start();
}

static void tear_down(void)
{
    core_free(core);
    history_free(&history);
}

TestSuite(core, .init = set_up, .fini = tear_down);

static struct public_key peer_key;

/* This many peers stand in the configuration now. */
static void have_peers(size_t peers)
{
    struct id stream = history_id(next_stream++);

    peer_key = history_key(2).public;
    cr_assert_eq(core_trust(core, &peer_key, peers), ERR_OK);
    if (core_stream_outdated(core))
        core_new_stream(core, &stream);
    core_open(core);
}

static enum core_verdict ask(const struct msg_count_req *req, uint64_t ticket,
                             struct msg_count_rep *rep)
{
    return core_count(core, req, ticket, ROOM, rep);
}

static void commit(void)
{
    reply_count = 0;
    history_commit(&history, core, 1700000000000, reply, NULL);
}

/* A request that has heard all that there is to hear. */
static struct msg_count_req req_now(uint64_t id, const char *name, int32_t amount)
{
    struct msg_count_req req = history_req(id, name, amount);

    req.heard = core_position(core);
    return req;
}

/* Gather one that must be taken. */
static void gather(uint64_t id, const char *name, int32_t amount)
{
    struct msg_count_req req = req_now(id, name, amount);
    struct msg_count_rep rep;

    cr_assert_eq(ask(&req, id, &rep), CORE_WAITS);
}

/* One count in a block of its own: the number that is answered. */
static int64_t count(uint64_t id, const char *name, int32_t amount)
{
    gather(id, name, amount);
    commit();
    cr_assert_eq(reply_count, 1);
    cr_assert_eq(replies[0].rep.status, STATUS_FINAL);
    return replies[0].rep.number;
}

/* One that is answered at once. */
static struct msg_count_rep answer_with_room(const struct msg_count_req *req, size_t room)
{
    struct msg_count_rep rep;

    cr_assert_eq(core_count(core, req, 0, room, &rep), CORE_ANSWERED);
    cr_assert(id_equal(&rep.id, &req->id));
    return rep;
}

static enum status answered(const struct msg_count_req *req)
{
    return answer_with_room(req, ROOM).status;
}

static struct msg_get_rep get(const char *name)
{
    struct msg_get_req req = {.id = history_id(77), .name_len = (uint8_t)strlen(name)};
    struct msg_get_rep rep;

    memcpy(req.name, name, req.name_len);
    core_get(core, &req, &rep);
    cr_assert(id_equal(&rep.id, &req.id));
    return rep;
}

/* ---- counting ---- */

Test(core, numbers_are_consecutive_per_counter_within_and_over_blocks_and_restarts)
{
    for (uint64_t block = 0; block < 10; block++) {
        for (uint64_t i = 0; i < 8; i++) {
            gather(100 * block + 2 * i, "a", 1);
            gather(100 * block + 2 * i + 1, "b", 1);
        }
        commit();
        cr_assert_eq(reply_count, 16);
        for (size_t i = 0; i < 16; i++) {
            cr_expect_eq(replies[i].ticket, 100 * block + i);
            cr_expect_eq(replies[i].rep.number, (int64_t)(8 * block + i / 2 + 1));
            cr_expect_eq(replies[i].rep.total, (int64_t)(8 * block + 8));
            cr_expect_eq(replies[i].rep.status, STATUS_FINAL);
        }
        if (block % 3 == 2)
            restart();
    }
    cr_expect_eq(get("a").total, 80);
    cr_expect_eq(get("b").total, 80);
}

Test(core, the_number_is_the_total_just_after_the_count_whatever_its_amount)
{
    cr_expect_eq(count(1, "a", 5), 5);
    cr_expect_eq(count(2, "a", -7), -2);
    cr_expect_eq(count(3, "a", INT32_MAX), (int64_t)INT32_MAX - 2);
    cr_expect_eq(count(4, "a", INT32_MIN), -3);
    cr_expect_eq(count(5, "a", 0), -3);
}

Test(core, what_is_not_durable_is_neither_answered_nor_seen_by_a_get)
{
    const uint8_t *bytes;
    size_t len;

    count(1, "a", 1);
    gather(2, "a", 1);
    cr_expect(core_gathered(core));
    cr_expect_eq(get("a").total, 1);
    reply_count = 0;
    cr_assert_eq(core_seal(core, 1, &bytes, &len), ERR_OK);
    cr_expect_not(core_gathered(core));
    cr_expect_eq(reply_count, 0);
    cr_expect_eq(get("a").total, 1);
    cr_expect_eq(core_position(core).number, 1);
    cr_assert_eq(core_written(core, reply, NULL), ERR_OK);
    cr_expect_eq(reply_count, 1);
    cr_expect_eq(get("a").total, 2);
    cr_expect_eq(core_position(core).number, 2);
}

Test(core, several_blocks_may_be_sealed_before_they_are_written)
{
    const uint8_t *bytes;
    size_t len;

    for (uint64_t i = 1; i <= 3; i++) {
        gather(i, "a", 1);
        gather(10 + i, "b", 2);
        cr_assert_eq(core_seal(core, i, &bytes, &len), ERR_OK);
        history_add(&history, bytes, len);
    }
    cr_assert_eq(core_written(core, reply, NULL), ERR_OK);
    cr_assert_eq(reply_count, 6);
    cr_expect_eq(replies[4].rep.number, 3);
    cr_expect_eq(replies[5].rep.number, 6);
    restart();
    cr_expect_eq(get("a").total, 3);
    cr_expect_eq(get("b").total, 6);
}

Test(core, a_counter_that_nobody_counted_has_the_total_0)
{
    cr_expect_eq(get("never").total, 0);
    cr_expect_eq(get("never").status, STATUS_FINAL);
    gather(1, "never", 5);
    cr_expect_eq(get("never").total, 0);
}

Test(core, a_full_block_is_sealed_first_and_none_is_lost)
{
    struct msg_count_req req;
    struct msg_count_rep rep;
    uint64_t taken = 0, blocks = 0;

    config.requests = CORE_REQUESTS;
    restart();
    for (uint64_t i = 1; i <= 20000; i++) {
        req = req_now(i, "a", 1);
        memset(req.tag, 't', TAG_MAX_BYTES);
        req.tag_len = TAG_MAX_BYTES;
        if (ask(&req, i, &rep) == CORE_SEAL_FIRST) {
            const uint8_t *bytes;
            size_t len;

            cr_assert_eq(core_seal(core, 1, &bytes, &len), ERR_OK);
            cr_assert_leq(len, BLOCK_MAX);
            cr_assert_gt(len, BLOCK_MAX / 2,
                         "blocks are not sealed before they are full");
            history_add(&history, bytes, len);
            reply_count = 0;
            cr_assert_eq(core_written(core, reply, NULL), ERR_OK);
            blocks++;
            cr_assert_eq(ask(&req, i, &rep), CORE_WAITS);
        }
        taken++;
    }
    commit();
    cr_expect_gt(blocks, 2);
    cr_expect_eq(get("a").total, (int64_t)taken);
    restart();
    cr_expect_eq(get("a").total, 20000);
}

Test(core, no_more_than_a_bounded_number_of_counts_waits_for_the_disk)
{
    struct msg_count_req req;
    struct msg_count_rep rep;
    const uint8_t *bytes;
    size_t len;
    uint64_t i = 0;

    config.requests = CORE_REQUESTS;
    restart();
    for (;;) {
        req = history_req(++i, "a", 1);
        if (ask(&req, i, &rep) == CORE_WAITS)
            continue;
        if (!core_gathered(core))
            break;
        cr_assert_eq(core_seal(core, 1, &bytes, &len), ERR_OK);
        if (ask(&req, i, &rep) == CORE_SEAL_FIRST)
            break;
    }
    cr_expect_eq(i - 1, CORE_UNWRITTEN_MAX);
}

/* ---- repeats ---- */

Test(core, a_repeat_gets_the_first_answer)
{
    struct msg_count_req req = req_now(1, "a", 3);
    struct msg_count_rep rep;

    cr_expect_eq(count(1, "a", 3), 3);
    count(2, "a", 10);
    rep = answer_with_room(&req, ROOM);
    cr_expect_eq(rep.status, STATUS_FINAL);
    cr_expect_eq(rep.number, 3);
    cr_expect_eq(rep.total, 13, "the total is that of now");
    cr_expect_eq(get("a").total, 13);
}

Test(core, a_repeat_of_what_is_not_durable_yet_waits_for_it_and_counts_once)
{
    struct msg_count_req req = req_now(1, "a", 1);
    struct msg_count_rep rep;
    const uint8_t *bytes;
    size_t len;

    cr_assert_eq(ask(&req, 10, &rep), CORE_WAITS);
    cr_assert_eq(ask(&req, 11, &rep), CORE_WAITS, "gathered");
    cr_assert_eq(core_seal(core, 1, &bytes, &len), ERR_OK);
    history_add(&history, bytes, len);
    cr_assert_eq(ask(&req, 12, &rep), CORE_WAITS, "sealed");
    cr_assert_eq(core_written(core, reply, NULL), ERR_OK);
    cr_assert_eq(reply_count, 3);
    for (size_t i = 0; i < 3; i++) {
        cr_expect_eq(replies[i].ticket, 10 + i);
        cr_expect_eq(replies[i].rep.number, 1);
        cr_expect_eq(replies[i].rep.status, STATUS_FINAL);
    }
    cr_expect_eq(get("a").total, 1);
}

Test(core, a_repeat_after_a_restart_gets_the_first_answer)
{
    struct msg_count_req first = req_now(1, "a", 3), second;

    count(1, "a", 3);
    second = req_now(2, "a", 4);
    count(2, "a", 4);
    restart();
    cr_expect_eq(answer_with_room(&first, ROOM).number, 3);
    cr_expect_eq(answer_with_room(&second, ROOM).number, 7);
    count(3, "a", 1);
    restart();
    cr_expect_eq(answer_with_room(&first, ROOM).number, 3);
    cr_expect_eq(get("a").total, 8);
}

Test(core, a_count_that_did_not_become_durable_is_counted_when_it_is_repeated)
{
    struct msg_count_req req = req_now(1, "a", 1);
    struct msg_count_rep rep;
    const uint8_t *bytes;
    size_t len;

    cr_assert_eq(ask(&req, 1, &rep), CORE_WAITS);
    cr_assert_eq(core_seal(core, 1, &bytes, &len), ERR_OK);
    restart(); /* The block never reached the log. */
    cr_expect_eq(ask(&req, 1, &rep), CORE_WAITS);
    commit();
    cr_expect_eq(replies[0].rep.number, 1);
    cr_expect_eq(get("a").total, 1);
}

Test(core, the_same_id_with_another_amount_or_counter_is_an_error)
{
    struct msg_count_req amount = req_now(1, "a", 2), name = req_now(1, "b", 1),
                         longer = req_now(1, "aa", 1), same = req_now(1, "a", 1);

    for (int when = 0; when < 3; when++) {
        if (when == 0)
            gather(1, "a", 1);
        if (when == 1)
            commit();
        if (when == 2)
            restart();
        cr_expect_eq(answered(&amount), STATUS_ERROR);
        cr_expect_eq(answered(&name), STATUS_ERROR);
        cr_expect_eq(answered(&longer), STATUS_ERROR);
    }
    cr_expect_eq(answered(&same), STATUS_FINAL);
    cr_expect_eq(get("a").total, 1);
    cr_expect_eq(get("b").total, 0);
}

/* ---- what was forgotten ---- */

Test(core, an_unknown_id_that_was_first_asked_before_the_memory_begins_is_unknown)
{
    struct msg_count_req lost = req_now(1, "a", 1), old;

    for (uint64_t i = 1; i <= 64; i++)
        count(i, "a", 1);
    cr_expect_eq(answered(&lost), STATUS_FINAL, "still remembered");
    old = req_now(999, "a", 1);
    old.heard.number = 0;
    count(65, "a", 1); /* The first one is forgotten: of block 1. */
    cr_expect_eq(answered(&lost), STATUS_UNKNOWN);
    old.heard.number = 0;
    cr_expect_eq(answered(&old), STATUS_UNKNOWN);
    old.heard.number = 1; /* Whoever had heard of block 1 asked for a later one. */
    gather(999, "a", 1);
    cr_expect_eq(get("a").total, 65);
}

Test(core, the_memory_reaches_back_exactly_to_the_last_one_forgotten)
{
    struct msg_count_req req;
    struct msg_count_rep rep;

    for (uint64_t i = 1; i <= 64 + 10; i++)
        count(i, "a", 1);
    req = req_now(999, "a", 1);
    req.heard.number = 9;
    cr_expect_eq(answered(&req), STATUS_UNKNOWN, "block 10's request is forgotten");
    req.heard.number = 10;
    cr_expect_eq(ask(&req, 0, &rep), CORE_WAITS);
}

Test(core, a_position_that_this_log_does_not_hold_is_unknown)
{
    struct msg_count_req req;

    count(1, "a", 1);
    req = req_now(2, "a", 1);
    req.heard.number++; /* This log was restored from a backup. */
    cr_expect_eq(answered(&req), STATUS_UNKNOWN);
    req = req_now(2, "a", 1);
    req.heard.stream = history_id(4711); /* This log was wiped. */
    cr_expect_eq(answered(&req), STATUS_UNKNOWN);
    cr_expect_eq(get("a").total, 1);
}

Test(core, a_position_in_an_earlier_run_s_stream_is_held)
{
    struct msg_count_req req;
    struct msg_count_rep rep;

    count(1, "a", 1);
    req = req_now(2, "a", 1);
    restart();
    cr_expect_eq(core_position(core).number, 1, "of the stream before");
    count(3, "a", 1);
    restart();
    count(4, "a", 1);
    cr_expect_eq(ask(&req, 0, &rep), CORE_WAITS);
}

Test(core, a_position_in_another_node_s_stream_is_none_of_ours)
{
    struct core_config other = history_config(2, 500);
    struct core *there = core_new(&other);
    struct msg_count_req req = history_req(1, "a", 1);
    struct msg_count_rep rep;

    cr_assert_eq(core_count(there, &req, 0, ROOM, &rep), CORE_WAITS);
    history_commit(&history, there, 1, reply, NULL);
    restart();
    cr_expect_eq(get("a").total, 1);
    req = history_req(2, "a", 1);
    req.heard = core_position(there);
    cr_expect_eq(answered(&req), STATUS_UNKNOWN);
    cr_expect_eq(core_position(core).number, 0, "its blocks are not our own history");
    core_free(there);
}

/* What this node remembers are its own counts: another node's are none of its repeats. */
Test(core, the_same_id_at_two_nodes_counts_twice_in_provisional_totals)
{
    struct core_config other = history_config(2, 500);
    struct core *there = core_new(&other);
    struct msg_count_req req = history_req(1, "a", 1);
    struct msg_count_rep rep;

    cr_assert_eq(core_count(there, &req, 0, ROOM, &rep), CORE_WAITS);
    history_commit(&history, there, 1, reply, NULL);
    restart();
    cr_expect_eq(count(1, "a", 1), 2);
    core_free(there);
}

/* ---- what is refused ---- */

/* ---- FINAL and PROVISIONAL ---- */

static enum status counted(uint64_t id)
{
    gather(id, "a", 1);
    commit();
    cr_assert_eq(reply_count, 1);
    return replies[0].rep.status;
}

static enum status repeated(uint64_t id)
{
    struct msg_count_req req = history_req(id, "a", 1);

    return answered(&req);
}

Test(core, numbers_are_FINAL_until_the_node_has_a_peer_and_PROVISIONAL_ever_after)
{
    cr_expect_eq(counted(1), STATUS_FINAL);
    have_peers(1);
    cr_expect_eq(core_status(core), STATUS_PROVISIONAL);
    cr_expect_eq(counted(2), STATUS_PROVISIONAL);
    have_peers(0);
    cr_expect_eq(counted(3), STATUS_PROVISIONAL, "the peer may have counted, too");
    restart();
    cr_expect_eq(counted(4), STATUS_PROVISIONAL, "the log says so");
    cr_expect_eq(get("a").status, STATUS_PROVISIONAL);
}

Test(core, a_repeat_is_FINAL_or_PROVISIONAL_as_its_first_answer_was)
{
    counted(1);
    have_peers(1);
    counted(2);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(repeated(1), STATUS_FINAL);
        cr_expect_eq(repeated(2), STATUS_PROVISIONAL);
        restart();
        core_open(core);
    }
}

Test(core, a_repeat_of_a_FINAL_number_that_waits_for_copies_stays_FINAL)
{
    struct id first = config.stream;
    struct msg_count_req req = history_req(1, "a", 1);
    struct msg_count_rep rep;

    counted(1);
    have_peers(1);
    core_set_copies(core, 2, 1000);
    cr_assert_eq(ask(&req, 5, &rep), CORE_WAITS);
    core_copied(core, &first, 1);
    reply_count = 0;
    core_answer(core, reply, NULL);
    cr_assert_eq(reply_count, 1);
    cr_expect_eq(replies[0].rep.number, 1);
    cr_expect_eq(replies[0].rep.status, STATUS_FINAL);
}

Test(core, peers_that_come_and_go_before_anything_is_counted_leave_numbers_FINAL)
{
    cr_expect_eq(counted(1), STATUS_FINAL);
    have_peers(1);
    have_peers(0);
    cr_expect_eq(counted(2), STATUS_FINAL);
}

static bool knows_all(const void *arg, const struct id *stream)
{
    (void)arg;
    (void)stream;
    return true;
}

static bool knows_none(const void *arg, const struct id *stream)
{
    (void)arg;
    (void)stream;
    return false;
}

/* How many streams a HAVE names; *first is the number that it says of this stream, -1 where it is not there. */
static size_t have(core_knows_fn *knows, const struct id *stream, int64_t *number)
{
    static uint8_t bytes[64 * CORE_HAVE_ITEM];
    bool more;
    size_t len = core_have(core, knows, NULL, bytes, sizeof bytes, &more);

    cr_assert_not(more);
    *number = -1;
    for (size_t at = 0; at < len; at += CORE_HAVE_ITEM) {
        struct reader r = reader_of(bytes + at + ID_BYTES, 8);

        if (memcmp(bytes + at, stream, ID_BYTES) == 0)
            *number = (int64_t)read_u64(&r);
    }
    return len / CORE_HAVE_ITEM;
}

Test(core, a_stream_that_ended_is_left_out_of_a_HAVE_for_whoever_knows_the_one_after_it)
{
    struct id first = config.stream;
    int64_t number;

    for (uint64_t i = 0; i < 20; i++) {
        count(i, "a", 1);
        restart();
    }
    cr_expect_eq(have(knows_none, &first, &number), 20);
    cr_expect_eq(number, 1);
    cr_expect_eq(have(knows_all, &first, &number), 1);
    cr_expect_eq(number, -1);
}

Test(core, a_stream_that_the_one_after_it_names_and_that_is_not_held_is_said_to_be_at_0)
{
    struct id first = config.stream, second;
    struct history later = {0};
    int64_t number;

    count(1, "a", 1);
    restart();
    second = config.stream;
    count(2, "a", 1);
    history_add(&later, history.blocks[1].bytes, history.blocks[1].len);
    core_free(core);
    core = core_new(&config);
    cr_assert_eq(history_replay(&later, core), ERR_OK);
    cr_expect_eq(have(knows_all, &first, &number), 2);
    cr_expect_eq(number, 0);
    have(knows_all, &second, &number);
    cr_expect_eq(number, 1);
    history_free(&later);
}

Test(core, a_HAVE_that_does_not_fit_says_so_and_is_cut_between_two_streams)
{
    uint8_t bytes[2 * CORE_HAVE_ITEM - 1];
    bool more;

    count(1, "a", 1);
    restart();
    count(2, "a", 1);
    cr_expect_eq(core_have(core, knows_none, NULL, bytes, sizeof bytes, &more),
                 CORE_HAVE_ITEM);
    cr_expect(more);
}

Test(core, totals_stop_at_2_to_the_62_on_both_sides)
{
    struct msg_count_req up = history_req(90, "up", 1),
                         down = history_req(91, "down", -1);
    const struct id id = history_id(1234);
    uint8_t bytes[1024];
    struct writer w = writer_of(bytes, sizeof bytes);
    struct core_config afar = history_config(2, 600);
    struct block head = {.stream = history_id(600), .number = 1, .groups = 2};
    struct item *item;
    struct hash hash;

    /* Another node makes both, and they are set: 2^31 counts of 2^31 each would take
     * long. */
    head.origin.cluster = config.cluster;
    head.origin.key = afar.key.public;
    block_put_head(&w, &head);
    block_put_group(&w, 1, "up", 2, 0, 1);
    block_put_op(&w, OP_ADD, &id, 1, "", 0);
    block_put_group(&w, 1, "down", 4, 0, 1);
    block_put_op(&w, OP_ADD, &id, -1, "", 0);
    block_seal(&w, &crypto_real, &afar.key, &hash);
    cr_assert_eq(core_replay(core, bytes, w.len), ERR_OK);
    item = core_item_from(core, &counter_component, "", 0, false);
    item->total = -total_max + 1; /* "down" */
    item = counter_component.next(item);
    item->total = total_max - 1;
    cr_expect_eq(count(1, "up", 1), total_max);
    cr_expect_eq(count(2, "down", -1), -total_max);
    up.heard = down.heard = core_position(core);
    cr_expect_eq(answered(&up), STATUS_DENIED);
    cr_expect_eq(answered(&down), STATUS_DENIED);
    cr_expect_eq(get("up").total, total_max);
    cr_expect_eq(count(3, "up", -5), total_max - 5);
    gather(4, "up", 4);
    up = req_now(5, "up", 2); /* With what is gathered it would pass the limit. */
    cr_expect_eq(answered(&up), STATUS_DENIED);
    gather(6, "up", 1);
    commit();
    cr_expect_eq(get("up").total, total_max);
}

Test(core, this_node_brings_no_more_names_into_being_than_it_may)
{
    struct msg_count_req req;

    config.items_max = 2;
    restart();
    count(1, "a", 1);
    gather(2, "b", 1);
    req = req_now(3, "c", 1);
    cr_expect_eq(answered(&req), STATUS_DENIED);
    commit();
    cr_expect_eq(answered(&req), STATUS_DENIED);
    cr_expect_eq(count(4, "b", 1), 2, "those that there are count on");
    config.items_max = 1;
    restart();
    cr_expect_eq(get("b").total, 2, "what is in the log stays");
    cr_expect_eq(count(5, "b", 1), 3);
}

Test(core, an_invalid_name_or_tag_is_an_error_and_nothing_is_counted)
{
    static const char *const bad[] = {"", "a b", "a/b", "\xc3\xa4", "a\nb", "a\"", "%"};
    struct msg_count_req req;
    struct msg_get_req ask_for = {.name_len = 0};
    struct msg_get_rep rep;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        req = history_req(i, bad[i], 1);
        cr_expect_eq(answered(&req), STATUS_ERROR, "\"%s\"", bad[i]);
        cr_expect_eq(get(bad[i]).status, STATUS_ERROR, "\"%s\"", bad[i]);
    }
    core_get(core, &ask_for, &rep);
    cr_expect_eq(rep.status, STATUS_ERROR);
    req = history_req(1, "a", 1);
    req.tag_len = 3;
    memcpy(req.tag, "a\nb", 3);
    cr_expect_eq(answered(&req), STATUS_ERROR);
    cr_expect_not(core_gathered(core));
}

Test(core, with_a_full_disk_new_counts_are_unavailable_while_repeats_and_gets_work)
{
    struct msg_count_req known = req_now(1, "a", 1), other = req_now(1, "a", 2), fresh;

    count(1, "a", 1);
    fresh = req_now(2, "a", 1);
    cr_expect_eq(answer_with_room(&fresh, 0).status, STATUS_UNAVAILABLE);
    cr_expect_eq(answer_with_room(&fresh, 100).status, STATUS_UNAVAILABLE);
    cr_expect_eq(answer_with_room(&known, 0).number, 1);
    cr_expect_eq(answer_with_room(&other, 0).status, STATUS_ERROR);
    cr_expect_eq(get("a").total, 1);
    cr_expect_not(core_gathered(core));
    cr_expect_eq(count(2, "a", 1), 2, "the same request once there is room");
}

Test(core, a_block_does_not_outgrow_the_room_that_the_log_has)
{
    const size_t room = 2000;
    struct msg_count_rep rep;
    const uint8_t *bytes;
    size_t len;
    uint64_t i = 0;
    struct msg_count_req req;

    do {
        req = req_now(++i, "a", 1);
    } while (core_count(core, &req, i, room, &rep) == CORE_WAITS);
    cr_assert_gt(i, 2);
    cr_assert_eq(core_seal(core, 1, &bytes, &len), ERR_OK);
    cr_expect_leq(len, room);
}

/* ---- the state is a function of the blocks ---- */

static struct core *core_of(const struct core_config *c, const struct history *first,
                            const struct history *second, const char *order)
{
    struct core *new = core_new(c);
    size_t a = 0, b = 0;

    cr_assert_not_null(new);
    for (; *order != '\0'; order++) {
        const struct history *from = *order == 'a' ? first : second;
        size_t i = *order == 'a' ? a++ : b++;

        cr_assert_lt(i, from->count);
        cr_assert_eq(core_replay(new, from->blocks[i].bytes, from->blocks[i].len),
                     ERR_OK);
    }
    cr_assert(a == first->count && b == second->count);
    return new;
}

static void encode(struct core *of, uint8_t **bytes, size_t *len)
{
    size_t max = core_encoded_max(of);
    struct writer w;

    *bytes = malloc(max);
    w = writer_of(*bytes, max);
    core_encode_state(of, &w);
    cr_assert_not(w.full);
    *len = w.len;
}

/* Two nodes count the same names, each without the other's blocks. */
static void two_histories(struct history *a, struct history *b)
{
    for (uint8_t node = 1; node <= 2; node++) {
        struct core_config c = history_config(node, 100 * node);
        struct core *there = core_new(&c);
        static const char *const names[] = {"z", "m", "a", "only-1", "only-2"};

        for (uint64_t block = 0; block < 3; block++) {
            for (uint64_t i = 0; i < 4; i++) {
                struct msg_count_req req = history_req(node * 1000 + block * 10 + i,
                                                       names[i < 3 ? i : 2u + node], 1);
                struct msg_count_rep rep;

                req.heard = core_position(there);
                cr_assert_eq(core_count(there, &req, 0, ROOM, &rep), CORE_WAITS);
            }
            history_commit(node == 1 ? a : b, there, block, reply, NULL);
        }
        core_free(there);
    }
}

Test(core, equal_histories_have_equal_bytes_whatever_the_order_of_arrival)
{
    static const char *const orders[] = {"aaabbb", "bbbaaa", "ababab", "baabba",
                                         "abbbaa"};
    struct history a = {0}, b = {0};
    uint8_t *first = NULL, *bytes;
    size_t first_len = 0, len;

    two_histories(&a, &b);
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        /* Each time another node looks: whose they are is not part of the state. */
        struct core_config c = history_config((uint8_t)(1 + i), 700 + i);
        struct core *there = core_of(&c, &a, &b, orders[i]);

        encode(there, &bytes, &len);
        if (i == 0) {
            first = bytes;
            first_len = len;
        } else {
            cr_expect_eq(len, first_len);
            cr_expect_arr_eq(bytes, first, len, "%s", orders[i]);
            free(bytes);
        }
        core_free(there);
    }
    free(first);
    history_free(&a);
    history_free(&b);
}

Test(core, counting_and_reading_back_give_the_same_bytes)
{
    uint8_t *counted, *read;
    size_t counted_len, read_len;

    for (uint64_t i = 1; i <= 100; i++) {
        gather(i, i % 2 == 0 ? "even" : "odd", (int32_t)i - 50);
        if (i % 7 == 0)
            commit();
    }
    commit();
    encode(core, &counted, &counted_len);
    restart();
    encode(core, &read, &read_len);
    cr_expect_eq(counted_len, read_len);
    cr_expect_arr_eq(counted, read, read_len);
    free(counted);
    free(read);
}

/* A refused count may have looked up or made a counter; nothing of it may be left in the
 * state. */
Test(core, what_only_waits_or_was_refused_is_not_in_the_state)
{
    struct msg_count_req req;
    uint8_t *before, *after;
    size_t before_len, after_len;

    count(1, "a", 1);
    encode(core, &before, &before_len);
    req = req_now(2, "not valid", 1);
    cr_assert_eq(answered(&req), STATUS_ERROR);
    req = req_now(2, "b", 1);
    cr_assert_eq(answer_with_room(&req, 0).status, STATUS_UNAVAILABLE);
    encode(core, &after, &after_len);
    cr_expect_eq(after_len, before_len);
    cr_expect_arr_eq(after, before, before_len);
    free(before);
    free(after);
}

/* ---- recovery ---- */

Test(core, a_block_that_does_not_continue_its_stream_is_corrupt)
{
    struct core *fresh;

    for (uint64_t i = 1; i <= 3; i++)
        count(i, "a", 1);
    fresh = core_new(&config);
    cr_expect_eq(core_replay(fresh, history.blocks[1].bytes, history.blocks[1].len),
                 ERR_CORRUPT, "the first is missing");
    cr_expect_eq(core_replay(fresh, history.blocks[0].bytes, history.blocks[0].len),
                 ERR_OK);
    cr_expect_eq(core_replay(fresh, history.blocks[0].bytes, history.blocks[0].len),
                 ERR_CORRUPT, "twice");
    cr_expect_eq(core_replay(fresh, history.blocks[2].bytes, history.blocks[2].len),
                 ERR_CORRUPT, "a gap");
    cr_expect_eq(core_replay(fresh, history.blocks[1].bytes, history.blocks[1].len),
                 ERR_OK);
    core_free(fresh);
}

Test(core, a_block_that_names_another_predecessor_is_corrupt)
{
    struct core *fresh;

    count(1, "a", 1);
    count(2, "a", 1);
    fresh = core_new(&config);
    cr_assert_eq(core_replay(fresh, history.blocks[0].bytes, history.blocks[0].len),
                 ERR_OK);
    history.blocks[1].bytes[1 + ID_BYTES + 1] ^= 1; /* of the previous block's hash */
    cr_expect_eq(core_replay(fresh, history.blocks[1].bytes, history.blocks[1].len),
                 ERR_CORRUPT);
    core_free(fresh);
}

Test(core, blocks_of_another_cluster_are_refused)
{
    struct core_config other = history_config(2, 500);
    struct core *there;
    struct msg_count_req req = history_req(1, "a", 1);
    struct msg_count_rep rep;
    struct history foreign = {0};

    count(1, "a", 1);
    other.cluster = history_id(2000);
    there = core_new(&other);
    cr_assert_eq(core_count(there, &req, 0, ROOM, &rep), CORE_WAITS);
    history_commit(&foreign, there, 1, reply, NULL);
    cr_expect_eq(history_replay(&foreign, core), ERR_REFUSED);
    cr_expect_eq(get("a").total, 1);
    core_free(there);
    history_free(&foreign);
}

Test(core, the_cluster_is_the_one_that_the_log_names)
{
    const struct id founded = config.cluster;
    struct core_figures figures;

    count(1, "a", 1);
    config.cluster = history_id(3000); /* what a new run would found */
    restart();
    count(2, "a", 1);
    core_figures(core, &figures);
    cr_expect(id_equal(&figures.cluster, &founded));
    restart();
    cr_expect_eq(get("a").total, 2);
}

Test(core, each_run_s_first_block_names_the_end_of_the_run_before)
{
    struct core_figures figures;
    struct block block;

    count(1, "a", 1);
    count(2, "a", 1);
    core_figures(core, &figures);
    restart();
    count(3, "a", 1);
    cr_assert_eq(block_decode(history.blocks[2].bytes, history.blocks[2].len,
                              &crypto_real, &block),
                 ERR_OK);
    cr_expect_eq(block.number, 1);
    cr_expect(id_equal(&block.stream, &config.stream));
    cr_expect(id_equal(&block.origin.before.position.stream, &figures.stream));
    cr_expect_eq(block.origin.before.position.number, 2);
    cr_expect(hash_equal(&block.origin.before.hash, &figures.end.hash));
}

/* The base in each group makes every number that was said answerable from the log. */
Test(core, the_numbers_that_were_said_stand_in_the_blocks)
{
    struct block_cursor cursor;
    struct block block;
    int64_t expected = 10;
    struct op op;

    count(1, "a", 10);
    gather(2, "a", 1);
    gather(3, "a", 2);
    gather(4, "a", 3);
    commit();
    cr_assert_eq(block_decode(history.blocks[1].bytes, history.blocks[1].len,
                              &crypto_real, &block),
                 ERR_OK);
    cursor = block_ops(&block);
    for (size_t i = 0; i < 3; i++) {
        cr_assert(block_next_op(&cursor, &op));
        cr_expect_eq(op.before, expected);
        expected += op.value;
        cr_expect_eq(replies[i].rep.number, expected);
    }
}

/* ---- checkpoints ---- */

/* A new core with what the present one encodes. */
static enum err reload(size_t requests)
{
    size_t max = core_encoded_max(core), state;
    uint8_t *bytes = malloc(max);
    struct writer w = writer_of(bytes, max);
    struct reader r;
    enum err err;

    core_encode_state(core, &w);
    state = w.len;
    core_encode_own(core, &w);
    cr_assert_not(w.full);
    core_free(core);
    config.stream = history_id(next_stream++);
    config.requests = requests;
    core = core_new(&config);
    r = reader_of(bytes, state);
    err = core_decode_state(core, &r);
    cr_expect(reader_done(&r));
    if (err == ERR_OK) {
        r = reader_of(bytes + state, w.len - state);
        err = core_decode_own(core, &r);
        cr_expect(reader_done(&r));
    }
    free(bytes);
    return err;
}

Test(core, what_was_saved_is_restored_repeats_included)
{
    struct msg_count_req first = req_now(1, "b", 2), lost = req_now(999, "a", 1);
    uint8_t *before, *after;
    size_t before_len, after_len;

    count(1, "b", 2);
    restart();
    for (uint64_t i = 2; i <= 40; i++)
        count(i, i % 2 == 0 ? "a" : "c", 1);
    encode(core, &before, &before_len);
    cr_assert_eq(reload(64), ERR_OK);
    encode(core, &after, &after_len);
    cr_expect_eq(after_len, before_len);
    cr_expect_arr_eq(after, before, before_len);
    cr_expect_eq(answer_with_room(&first, ROOM).number, 2);
    cr_expect_eq(count(41, "a", 1), 21);
    lost.heard = (struct position){history_id(1), 2};
    cr_expect_eq(answered(&lost), STATUS_UNKNOWN, "stream 1 ended at 1");
    free(before);
    free(after);
}

Test(core, the_end_of_memory_is_restored)
{
    struct msg_count_req old;

    for (uint64_t i = 1; i <= 70; i++)
        count(i, "a", 1);
    old = req_now(999, "a", 1);
    cr_assert_eq(reload(64), ERR_OK);
    old.heard.number = 5;
    cr_expect_eq(answered(&old), STATUS_UNKNOWN, "block 6's request is forgotten");
    old.heard.number = 6;
    cr_expect_eq(ask(&old, 0, &(struct msg_count_rep){0}), CORE_WAITS);
}

Test(core, a_smaller_memory_than_the_one_saved_has_forgotten_more)
{
    struct msg_count_req old, kept;

    for (uint64_t i = 1; i <= 40; i++)
        count(i, "a", 1);
    old = req_now(999, "a", 1);
    kept = req_now(40, "a", 1);
    cr_assert_eq(reload(16), ERR_OK);
    cr_expect_eq(answer_with_room(&kept, ROOM).number, 40);
    old.heard.number = 23;
    cr_expect_eq(answered(&old), STATUS_UNKNOWN);
    old.heard.number = 24;
    cr_expect_eq(ask(&old, 0, &(struct msg_count_rep){0}), CORE_WAITS);
}

/* The core with two counters and one request, in two readers over `bytes`, which are then
 * changed. */
static size_t save(uint8_t *bytes, size_t size, size_t *state)
{
    struct writer w = writer_of(bytes, size);

    count(1, "a", 1);
    core_encode_state(core, &w);
    *state = w.len;
    core_encode_own(core, &w);
    cr_assert_not(w.full);
    return w.len;
}

static enum err load(const uint8_t *bytes, size_t state, size_t own)
{
    struct core *fresh = core_new(&config);
    struct reader r = reader_of(bytes, state);
    enum err err = core_decode_state(fresh, &r);

    if (err == ERR_OK && !reader_done(&r))
        err = ERR_MALFORMED;
    r = reader_of(bytes + state, own);
    if (err == ERR_OK)
        err = core_decode_own(fresh, &r);
    if (err == ERR_OK && !reader_done(&r))
        err = ERR_MALFORMED;
    core_free(fresh);
    return err;
}

Test(core, saved_bytes_cut_anywhere_are_malformed)
{
    uint8_t bytes[1024];
    size_t state, len = save(bytes, sizeof bytes, &state);

    cr_expect_eq(load(bytes, state, len - state), ERR_OK);
    for (size_t cut = 0; cut < state; cut++)
        cr_expect_eq(load(bytes, cut, 0), ERR_MALFORMED, "state cut at %zu", cut);
    for (size_t cut = 0; cut < len - state; cut++)
        cr_expect_eq(load(bytes, state, cut), ERR_MALFORMED, "own cut at %zu", cut);
}

/* The counter's part is: number 1, version 2, one name "a", total 1 as zigzag, never retired. */
Test(core,
     a_component_that_stands_twice_is_malformed_and_one_unknown_is_of_a_newer_version)
{
    static const uint8_t part[] = {1, 2, 1, 1, 'a', 2, 0};
    uint8_t bytes[1024];
    size_t state;

    save(bytes, sizeof bytes, &state);
    cr_assert_arr_eq(bytes + state - sizeof part, part, sizeof part);
    cr_assert_eq(bytes[state - sizeof part - 1], COMPONENT_COUNT);
    bytes[state - sizeof part - 1] = 2;
    memcpy(bytes + state, part, sizeof part);
    bytes[state + 4] = 'b';
    cr_expect_eq(load(bytes, state + sizeof part, 0), ERR_MALFORMED);
    bytes[state] = 2;
    cr_expect_eq(load(bytes, state + sizeof part, 0), ERR_VERSION);
    bytes[state - sizeof part - 1] = 1;
    bytes[state - sizeof part + 1] = 3;
    cr_expect_eq(load(bytes, state, 0), ERR_VERSION, "its version");
}

/* The own part is: streams {1, id}, reach {0, 0}, requests {1, {id, item 0, value,
 * number, place {1, 1}}}. */
Test(core, a_saved_request_in_a_block_that_is_not_held_is_malformed)
{
    uint8_t bytes[1024];
    size_t state, len = save(bytes, sizeof bytes, &state), reach = state + 2 + ID_BYTES,
                  item = reach + 3 + ID_BYTES;

    cr_assert_eq(len, item + 5);
    for (size_t at = len - 2; at < len; at++) {
        bytes[at]++;
        cr_expect_eq(load(bytes, state, len - state), ERR_MALFORMED);
        bytes[at]--;
    }
    bytes[item]++;
    cr_expect_eq(load(bytes, state, len - state), ERR_MALFORMED, "no such item");
    bytes[item]--;
    bytes[reach] = 1;
    cr_expect_eq(load(bytes, state, len - state), ERR_OK);
    bytes[reach + 1] = 1;
    cr_expect_eq(load(bytes, state, len - state), ERR_OK);
    bytes[reach + 1] = 2;
    cr_expect_eq(load(bytes, state, len - state), ERR_MALFORMED, "beyond the end");
    bytes[reach] = 0;
    cr_expect_eq(load(bytes, state, len - state), ERR_MALFORMED, "of no stream");
}

/* An id that was forgotten may be counted again. A larger memory, or one rebuilt from the
 * log, holds both. */
Test(core, an_id_that_was_counted_twice_is_saved_and_restored_as_it_was_counted_last)
{
    struct msg_count_req again;

    for (uint64_t i = 1; i <= 65; i++)
        count(i, "a", 1);
    again = req_now(1, "a", 1);
    cr_expect_eq(count(1, "a", 1), 66, "block 1 is forgotten");
    config.requests = 128;
    restart();
    cr_expect_eq(answer_with_room(&again, ROOM).number, 66);
    cr_assert_eq(reload(128), ERR_OK);
    cr_expect_eq(answer_with_room(&again, ROOM).number, 66);
    for (uint64_t i = 100; i < 190; i++)
        count(i, "a", 1);
    cr_expect_eq(answer_with_room(&again, ROOM).number, 66, "the first one is forgotten");
    cr_assert_eq(reload(64), ERR_OK);
    again.heard = core_position(core);
    cr_expect_eq(ask(&again, 0, &(struct msg_count_rep){0}), CORE_WAITS);
}

/* Two streams of this node that its disk has lost, as a peer gives them back: one count in each. */
static void lost_streams(struct history *lost)
{
    for (uint64_t i = 0; i < 2; i++) {
        struct core_config other = config;
        struct msg_count_req req = history_req(7000 + i, "hits", 1);
        struct msg_count_rep rep;
        struct core *before;

        other.stream = history_id(5000 + i);
        before = core_new(&other);
        cr_assert_not_null(before);
        cr_assert_eq(core_count(before, &req, 1, ROOM, &rep), CORE_WAITS);
        history_commit(lost, before, 1700000000000, reply, NULL);
        core_free(before);
    }
}

Test(core, a_lost_stream_of_ours_that_comes_back_makes_no_count_durable_that_is_not)
{
    struct history lost = {0};
    struct core_record record;
    struct msg_count_rep rep;
    struct msg_count_req req;

    lost_streams(&lost);
    req = req_now(1, "hits", 1);
    cr_assert_eq(ask(&req, 1, &rep), CORE_WAITS);
    commit();
    for (size_t i = 0; i < lost.count; i++)
        cr_assert_eq(
            core_receive(core, lost.blocks[i].bytes, lost.blocks[i].len, false, &record),
            CORE_TAKEN);
    cr_assert_eq(core_written(core, reply, NULL), ERR_OK);
    req = req_now(2, "hits", 1);
    cr_assert_eq(ask(&req, 2, &rep), CORE_WAITS);
    cr_expect_eq(ask(&req, 3, &rep), CORE_WAITS, "a repeat of what is not durable");
    commit();
    cr_expect_eq(reply_count, 2);
    cr_expect_eq(replies[1].rep.number, 4);
    history_free(&lost);
}

/* ---- copies on other nodes: what was told of them, without any ---- */

enum { WAIT_MS = 1000 };

static void want_copies(unsigned copies, unsigned nodes)
{
    core_time(core, 5000);
    core_set_copies(core, copies, WAIT_MS);
    core_set_nodes(core, nodes);
}

static void copied(uint64_t number)
{
    core_copied(core, &config.stream, number);
    core_answer(core, reply, NULL);
}

static void at(uint64_t ms)
{
    core_time(core, ms);
    core_answer(core, reply, NULL);
}

Test(core, who_waits_for_copies_is_answered_in_order_up_to_what_is_copied)
{
    want_copies(2, 2);
    for (uint64_t block = 1; block <= 3; block++) {
        gather(2 * block, "a", 1);
        gather(2 * block + 1, "a", 1);
        commit();
        cr_assert_eq(reply_count, 0);
    }
    cr_expect_eq(get("a").total, 6, "it is counted");
    cr_expect_eq(core_due(core), 5000 + WAIT_MS);
    copied(2);
    cr_assert_eq(reply_count, 4);
    for (size_t i = 0; i < 4; i++) {
        cr_expect_eq(replies[i].ticket, 2 + i);
        cr_expect_eq(replies[i].rep.number, (int64_t)(1 + i));
        cr_expect_eq(replies[i].rep.total, 6);
    }
    copied(1);
    cr_expect_eq(reply_count, 4, "what was answered stays so");
    copied(3);
    cr_expect_eq(reply_count, 6);
    cr_expect_eq(core_due(core), UINT64_MAX);
}

Test(core, a_peer_that_holds_less_again_is_believed_until_the_answer)
{
    struct msg_count_rep rep;
    struct msg_count_req req;

    want_copies(2, 2);
    gather(1, "a", 1);
    commit();
    core_copied(core, &config.stream, 1);
    copied(0);
    cr_expect_eq(reply_count, 0);
    copied(1);
    cr_expect_eq(reply_count, 1);
    copied(0);
    req = req_now(1, "a", 1);
    cr_expect_eq(ask(&req, 7, &rep), CORE_WAITS, "a repeat needs them, too");
    copied(1);
    cr_expect_eq(reply_count, 2);
    cr_expect_eq(replies[1].ticket, 7);
    cr_expect_eq(replies[1].rep.number, 1);
}

Test(core, who_has_waited_long_enough_is_told_UNKNOWN_once_and_new_counts_are_refused)
{
    struct msg_count_req req;

    want_copies(2, 2);
    gather(1, "a", 1);
    commit();
    at(5000 + WAIT_MS - 1);
    cr_expect_eq(reply_count, 0);
    at(5000 + WAIT_MS);
    cr_assert_eq(reply_count, 1);
    cr_expect_eq(replies[0].rep.status, STATUS_UNKNOWN);
    cr_expect_eq(replies[0].rep.number, 0);
    req = req_now(2, "a", 1);
    cr_expect_eq(answered(&req), STATUS_UNAVAILABLE);
    cr_expect_not(core_gathered(core));
    copied(1);
    cr_expect_eq(reply_count, 1);
    gather(2, "a", 1);
}

Test(core, a_count_waits_for_copies_from_when_its_block_is_durable)
{
    want_copies(2, 2);
    gather(1, "a", 1);
    core_time(core, 9000);
    commit();
    cr_expect_eq(core_due(core), 9000 + WAIT_MS);
}

Test(core, with_fewer_nodes_than_copies_nothing_new_is_counted)
{
    struct msg_count_req req = req_now(1, "a", 1);

    want_copies(3, 2);
    cr_expect_eq(answered(&req), STATUS_UNAVAILABLE);
    cr_expect_not(core_gathered(core));
    core_set_nodes(core, 3);
    gather(1, "a", 1);
}

Test(core, only_so_many_counts_and_repeats_wait_for_copies)
{
    enum { ROUND = 1024 };
    struct msg_count_req req;
    struct msg_count_rep rep;
    uint64_t id = 0;

    core_free(core);
    config.requests = CORE_REQUESTS;
    start();
    want_copies(2, 2);
    while (id < CORE_UNWRITTEN_MAX) {
        for (unsigned i = 0; i < ROUND; i++)
            gather(++id, "a", 1);
        commit();
    }
    req = req_now(id + 1, "a", 1);
    cr_expect_eq(answered(&req), STATUS_UNAVAILABLE);
    req = req_now(1, "a", 1);
    for (uint64_t i = 0; i < CORE_UNWRITTEN_MAX; i++)
        cr_assert_eq(ask(&req, i, &rep), CORE_WAITS);
    cr_expect_eq(answered(&req), STATUS_UNKNOWN);
    cr_expect_eq(reply_count, 0);
}

/* The first block of a stream that the peer writes; *before: the stream's before it, and then the end of this one. */
static enum core_taken receive_stream(uint64_t number, struct stream_end *before)
{
    struct key_pair key = history_key(2);
    struct block head = {
        .stream = history_id(number), .number = 1, .stamp_ms = 1, .groups = 1};
    struct id id = history_id(number);
    uint8_t bytes[1024];
    struct writer w = writer_of(bytes, sizeof bytes);
    struct core_record record;
    enum core_taken taken;

    head.origin.cluster = history_id(1000);
    head.origin.key = key.public;
    head.origin.before = *before;
    head.origin.provisional = true;
    block_put_head(&w, &head);
    block_put_group(&w, counter_component.number, "hits", 4, 0, 1);
    block_put_op(&w, OP_ADD, &id, 1, "", 0);
    before->position = (struct position){head.stream, 1};
    block_seal(&w, &crypto_real, &key, &before->hash);
    taken = core_receive(core, w.start, w.len, false, &record);
    cr_assert_eq(core_written(core, reply, NULL), ERR_OK);
    return taken;
}

Test(core, streams_that_follow_one_another_are_taken_without_end)
{
    struct stream_end before = {0};

    have_peers(1);
    for (uint64_t i = 0; i < CORE_OPEN_STREAMS + 10; i++)
        cr_assert_eq(receive_stream(100000 + i, &before), CORE_TAKEN);
}

Test(core, a_node_that_begins_one_stream_beside_the_other_is_refused_at_some_point)
{
    for (uint64_t i = 0; i <= CORE_OPEN_STREAMS; i++) {
        struct stream_end before = {0};

        if (i == 0)
            have_peers(1);
        cr_assert_eq(receive_stream(100000 + i, &before),
                     i < CORE_OPEN_STREAMS ? CORE_TAKEN : CORE_REFUSED);
    }
}

Test(core, who_waits_for_copies_is_answered_by_the_core_that_takes_over)
{
    struct core_config second = history_config(2, 900);
    struct core *other = core_new(&second), *new = core_new(&config);
    struct history others = {0};
    struct msg_count_req req;
    struct msg_count_rep rep;
    struct reader r;
    struct writer w;

    want_copies(2, 2);
    gather(1, "a", 1);
    commit();
    req = req_now(1, "a", 1);
    cr_assert_eq(ask(&req, 9, &rep), CORE_WAITS);
    /* Another node holds this one's block, and one of its own. */
    cr_assert_eq(history_replay(&history, other), ERR_OK);
    req = history_req(2, "a", 1);
    cr_assert_eq(core_count(other, &req, 0, ROOM, &rep), CORE_WAITS);
    history_commit(&others, other, 1, reply, NULL);
    w = writer_of(malloc(core_encoded_max(other)), core_encoded_max(other));
    core_encode_state(other, &w);
    r = reader_of(w.start, w.len);
    cr_assert_eq(core_adopt(new, core, &r), ERR_OK);
    cr_assert_eq(core_adopt_own(new, core), ERR_OK);
    core_take_over(new, core);
    core_free(core);
    core = new;
    reply_count = 0;
    at(5000);
    cr_expect_eq(reply_count, 0);
    copied(1);
    cr_assert_eq(reply_count, 2);
    cr_expect_eq(replies[0].ticket, 1);
    cr_expect_eq(replies[1].ticket, 9);
    cr_expect_eq(replies[1].rep.number, 1);
    cr_expect_eq(replies[1].rep.total, 2, "as the new state has it");
    free(w.start);
    history_free(&others);
    core_free(other);
}

/* tests/unit/test_rivals.c: two processes with one key are told from one that was started again. */
#include <criterion/criterion.h>

#include "replica/rivals.h"
#include "tests/lib/history.h"

static struct id run(unsigned n)
{
    return history_id(n);
}

/* Heard by turns, each with a number that goes on; now_ms moves on. */
static void by_turns(struct rivals *r, unsigned turns, uint64_t every_ms,
                     uint64_t *now_ms, uint64_t *number)
{
    for (unsigned i = 0; i < turns; i++, *now_ms += every_ms) {
        struct id a = run(1), b = run(2);

        cr_assert(rivals_heard(r, &a, ++*number, *now_ms));
        cr_assert(rivals_heard(r, &b, *number, *now_ms + every_ms / 2));
    }
}

Test(rivals, two_runs_that_are_heard_by_turns_are_alive_within_ten_seconds)
{
    uint64_t now_ms = 1000, number = 0;
    struct rivals r = {0};

    by_turns(&r, 3, 1000, &now_ms, &number);
    cr_assert_not(rivals_alive(&r, now_ms), "too early to tell");
    by_turns(&r, 7, 1000, &now_ms, &number);
    cr_assert(rivals_alive(&r, now_ms));
    cr_assert(rivals_alive(&r, now_ms + RIVALS_SEEN_MS - 2000));
    cr_assert_not(rivals_alive(&r, now_ms + RIVALS_SEEN_MS), "not for ever");
}

Test(rivals, once_forgotten_they_need_as_much_evidence_as_the_first_time)
{
    uint64_t now_ms = 1000, number = 0;
    struct rivals r = {0};

    by_turns(&r, 10, 1000, &now_ms, &number);
    now_ms += RIVALS_SEEN_MS;
    by_turns(&r, 3, 1000, &now_ms, &number);
    cr_assert_not(rivals_alive(&r, now_ms));
    by_turns(&r, 5, 1000, &now_ms, &number);
    cr_assert(rivals_alive(&r, now_ms));
}

Test(rivals, while_they_are_known_a_single_return_a_minute_keeps_them)
{
    uint64_t now_ms = 1000, number = 0;
    struct rivals r = {0};

    by_turns(&r, 10, 1000, &now_ms, &number);
    for (unsigned i = 0; i < 5; i++) {
        now_ms += RIVALS_SEEN_MS - 5000;
        by_turns(&r, 1, 1000, &now_ms, &number);
        cr_assert(rivals_alive(&r, now_ms));
    }
}

Test(rivals, messages_that_were_on_their_way_for_long_are_none_however_many)
{
    struct rivals r = {0};
    struct id old = run(1), new = run(2);
    uint64_t number = 0;

    for (uint64_t burst = 0; burst < 2; burst++)
        for (uint64_t i = 0; i < 500; i++) {
            rivals_heard(&r, &old, ++number, 1000 + burst * 1500 + i);
            rivals_heard(&r, &new, number, 1000 + burst * 1500 + i);
        }
    for (uint64_t i = 1; i < 60; i++) {
        rivals_heard(&r, &new, number + i, 3000 + i * 1000);
        cr_assert_not(rivals_alive(&r, 3000 + i * 1000));
    }
}

Test(rivals, late_messages_now_and_then_do_not_add_up)
{
    struct rivals r = {0};
    struct id old = run(1), new = run(2);
    uint64_t number = 0;

    for (uint64_t i = 0; i < 50; i++) {
        rivals_heard(&r, &old, ++number, 1000 + i * 20000);
        for (uint64_t s = 1; s < 20; s++)
            rivals_heard(&r, &new, i * 20 + s, 1000 + i * 20000 + s * 1000);
        cr_assert_not(rivals_alive(&r, 1000 + i * 20000 + 19000));
    }
}

Test(rivals, runs_that_follow_one_another_are_none_however_many)
{
    struct rivals r = {0};

    for (unsigned i = 1; i <= 50; i++) {
        struct id each = run(i);

        for (uint64_t n = 1; n <= 3; n++)
            rivals_heard(&r, &each, n, i * 3000 + n * 1000);
        rivals_proven(&r, i * 3000 + 3000);
        cr_assert_not(rivals_alive(&r, i * 3000 + 3000));
    }
}

Test(rivals, a_run_that_proves_itself_again_after_another_did_needs_no_more)
{
    struct rivals r = {0};
    struct id a = run(1), b = run(2);

    rivals_heard(&r, &a, 1, 1000);
    rivals_proven(&r, 1000);
    rivals_heard(&r, &b, 1, 1001);
    rivals_proven(&r, 1001);
    cr_assert_not(rivals_alive(&r, 1001));
    rivals_heard(&r, &a, 2, 1002);
    rivals_proven(&r, 1002);
    cr_assert(rivals_alive(&r, 1002));
}

Test(rivals, what_is_played_back_ends_with_what_was_recorded)
{
    struct rivals r = {0};
    struct id old = run(1), new = run(2);
    uint64_t now_ms = 1000, played = 0;

    for (uint64_t i = 1; i <= 4; i++)
        cr_assert(rivals_heard(&r, &old, i, now_ms += 1000));
    for (uint64_t i = 1; i <= 100; i++) {
        rivals_heard(&r, &new, i, now_ms += 500);
        played += rivals_heard(&r, &old, i % 6 + 1, now_ms += 500);
    }
    cr_assert_eq(played, 2, "numbers 5 and 6 were new");
    cr_assert_not(rivals_alive(&r, now_ms));
}

Test(rivals, only_those_heard_last_are_remembered)
{
    uint64_t now_ms = 1000, number = 0;
    struct rivals r = {0};

    for (unsigned i = 10; i < 10 + 2 * RIVALS_RUNS; i++) {
        struct id other = run(i);

        rivals_heard(&r, &other, 1, now_ms++);
    }
    cr_assert_eq(r.count, RIVALS_RUNS);
    by_turns(&r, 10, 1000, &now_ms, &number);
    cr_assert(rivals_alive(&r, now_ms));
}

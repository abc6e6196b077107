#include "replica/pace.h"

#include <criterion/criterion.h>

static struct pace begun(void)
{
    struct pace p;

    pace_begin(&p);
    return p;
}

/* A link of so many bytes a second and so many ms there and back, for so long, with as much to send as it takes.
 * Messages hold 4 KiB. The longest time that one of them was under way. */
static uint64_t run(struct pace *p, uint64_t rate, uint64_t delay_ms, uint64_t for_ms)
{
    enum { MESSAGE = 4096, MANY = 8192 };
    static uint64_t sent_ms[MANY], due_ms[MANY];
    uint64_t longest = 0, free_us = 0;
    size_t first = 0, end = 0;

    for (uint64_t now = 0; now < for_ms; now++) {
        while (pace_room(p)) {
            cr_assert_lt(end - first, (size_t)MANY);
            free_us = (free_us > now * 1000 ? free_us : now * 1000) +
                      MESSAGE * (uint64_t)1000000 / rate;
            sent_ms[end % MANY] = now;
            due_ms[end++ % MANY] = free_us / 1000 + delay_ms;
            pace_sent(p, MESSAGE, now);
        }
        while (first < end && due_ms[first % MANY] <= now) {
            /* What is behind the first seconds, in which it learns. */
            if (now > for_ms / 2 && now - sent_ms[first % MANY] > longest)
                longest = now - sent_ms[first % MANY];
            pace_acked(p, MESSAGE, now);
            first++;
        }
        cr_assert_not(pace_lost(p, now), "nothing is lost on this link");
    }
    return longest;
}

Test(pace, on_a_slow_link_what_is_sent_is_soon_acknowledged)
{
    struct pace p = begun();

    cr_assert_leq(run(&p, 60000, 20, 60000), 700u);
    cr_assert_geq(p.acked, 60000u * 59, "and the link is used");
}

Test(pace, on_a_fast_link_as_much_is_under_way_as_memory_allows)
{
    struct pace p = begun();

    run(&p, 200 * 1000 * 1000, 30, 2000);
    cr_assert_eq(p.window, (uint64_t)PACE_MAX);
}

Test(pace, on_a_long_way_the_window_grows_to_what_the_link_holds)
{
    struct pace p = begun();

    run(&p, 2 * 1000 * 1000, 600, 60000);
    cr_assert_geq(p.acked, 2u * 1000 * 1000 * 45);
}

Test(pace, a_window_that_is_not_used_does_not_grow)
{
    struct pace p = begun();

    for (uint64_t now = 0; now < 1000; now += 10) {
        pace_sent(&p, 100, now);
        pace_acked(&p, 100, now + 5);
    }
    cr_assert_eq(p.window, (uint64_t)PACE_MIN);
}

Test(pace, what_is_not_acknowledged_for_four_times_as_long_as_it_took_is_lost)
{
    struct pace p = begun();

    pace_sent(&p, 100, 0);
    cr_assert_not(pace_lost(&p, PACE_LOST_MS - 1));
    cr_assert(pace_lost(&p, PACE_LOST_MS), "before anything is known");
    pace_acked(&p, 100, 1000);
    cr_assert_not(pace_lost(&p, 100000), "nothing is under way");
    pace_sent(&p, 100, 2000);
    pace_sent(&p, 100, 3000);
    cr_assert_not(pace_lost(&p, 5999));
    cr_assert(pace_lost(&p, 6000));
    pace_acked(&p, 100, 5000);
    cr_assert_not(pace_lost(&p, 6000), "something came");
}

Test(pace, each_loss_halves_the_window_and_makes_it_wait_longer_up_to_a_bound)
{
    struct pace p = begun();
    uint64_t now = 0, before, waited = 0;

    p.window = PACE_MAX;
    for (int i = 0; i < 20; i++) {
        before = now;
        pace_sent(&p, 100, now);
        while (!pace_lost(&p, now))
            now += 100;
        cr_assert_leq(now - before, (uint64_t)PACE_LOST_MAX_MS);
        cr_assert(now - before > waited || waited == PACE_LOST_MAX_MS);
        waited = now - before;
        before = p.window;
        pace_slow(&p);
        pace_forget(&p);
        cr_assert(p.window == before / 2 || p.window == PACE_MIN);
    }
    cr_assert_eq(waited, (uint64_t)PACE_LOST_MAX_MS);
    cr_assert_eq(p.window, (uint64_t)PACE_MIN);
}

Test(pace, a_message_that_is_larger_than_the_window_goes_out_alone)
{
    struct pace p = begun();

    cr_assert(pace_room(&p));
    pace_sent(&p, 10 * PACE_MIN, 0);
    cr_assert_not(pace_room(&p));
    pace_acked(&p, 10 * PACE_MIN, 1);
    cr_assert(pace_room(&p));
}

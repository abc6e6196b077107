/* Deadlines end in the order of their times, however they were moved and stopped. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "server/timers.h"

static struct timers *timers;

static void setup(void)
{
    timers = timers_new(1000);
}

static void teardown(void)
{
    timers_free(timers);
}

TestSuite(timers, .init = setup, .fini = teardown);

Test(timers, none_is_over_and_nothing_is_due_when_none_runs)
{
    cr_assert_null(timers_over(timers, UINT64_MAX));
    cr_assert_eq(timers_due_ms(timers), UINT64_MAX);
}

Test(timers, one_is_over_at_its_time_and_not_before)
{
    struct timer t = {0};

    timers_set(timers, &t, 100);
    cr_assert_eq(timers_due_ms(timers), 100);
    cr_assert_null(timers_over(timers, 99));
    cr_assert_eq(timers_over(timers, 100), &t);
    cr_assert_null(timers_over(timers, UINT64_MAX), "it is over once");
}

Test(timers, one_moved_to_later_is_not_over_at_its_old_time)
{
    struct timer t = {0};

    timers_set(timers, &t, 100);
    timers_set(timers, &t, 300);
    cr_assert_null(timers_over(timers, 200));
    cr_assert_eq(timers_due_ms(timers), 300, "and the heap has learnt of it");
    cr_assert_eq(timers_over(timers, 300), &t);
}

Test(timers, one_moved_to_earlier_is_over_at_its_new_time)
{
    struct timer t = {0};

    timers_set(timers, &t, 300);
    timers_set(timers, &t, 100);
    cr_assert_eq(timers_over(timers, 100), &t);
}

Test(timers, one_that_was_stopped_is_never_over)
{
    struct timer t = {0}, other = {0};

    timers_set(timers, &t, 100);
    timers_set(timers, &other, 50);
    timers_stop(timers, &t);
    timers_stop(timers, &t);
    cr_assert_eq(timers_over(timers, UINT64_MAX), &other);
    cr_assert_null(timers_over(timers, UINT64_MAX));
}

/* Against the plain rule: what is over is exactly what runs and whose time has come. */
Test(timers, any_mixture_of_moves_and_stops_keeps_every_time)
{
    enum { COUNT = 1000, STEPS = 200000 };
    struct timer *t = calloc(COUNT, sizeof *t);
    bool *runs = calloc(COUNT, sizeof *runs);
    uint64_t now = 0;

    srand(1);
    for (int step = 0; step < STEPS; step++) {
        size_t i = (size_t)rand() % COUNT;
        struct timer *over;

        switch (rand() % 4) {
        case 0:
        case 1:
            timers_set(timers, &t[i], now + (uint64_t)(rand() % 500) + 1);
            runs[i] = true;
            break;
        case 2:
            timers_stop(timers, &t[i]);
            runs[i] = false;
            break;
        default:
            now += (uint64_t)(rand() % 3);
            while ((over = timers_over(timers, now)) != NULL) {
                cr_assert(runs[over - t]);
                cr_assert_leq(over->at_ms, now);
                runs[over - t] = false;
            }
            for (size_t k = 0; k < COUNT; k++)
                cr_assert(!runs[k] || t[k].at_ms > now, "none was passed over");
        }
    }
    free(t);
    free(runs);
}

/* A process that ends unasked is started again: at once, then later and later, within a
 * bound. */
#include <criterion/criterion.h>

#include "server/backoff.h"

Test(backoff, the_first_end_is_followed_by_a_start_at_once)
{
    struct backoff b = {0};

    cr_assert_eq(backoff_ended(&b, 0), 0);
}

Test(backoff, ends_in_a_row_wait_twice_as_long_each_time_up_to_the_bound)
{
    static const unsigned expected[] = {0, 100, 200, 400, 800, 1000, 1000, 1000};
    struct backoff b = {0};

    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        cr_assert_eq(backoff_ended(&b, 5), expected[i], "end %zu", i);
}

Test(backoff, a_million_ends_in_a_row_still_wait_no_longer_than_the_bound)
{
    struct backoff b = {.ends = 1000000};

    cr_assert_eq(backoff_ended(&b, 5), BACKOFF_MAX_MS);
}

Test(backoff, a_process_that_lived_for_long_is_started_at_once_again)
{
    struct backoff b = {.ends = 8};

    cr_assert_eq(backoff_ended(&b, BACKOFF_FORGOTTEN_MS), 0);
    cr_assert_eq(backoff_ended(&b, BACKOFF_FORGOTTEN_MS - 1), 100);
}

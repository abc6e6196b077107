#include <criterion/criterion.h>

#include "server/histogram.h"

static struct histogram h; /* zero in each test: every test has a process of its own */

Test(histogram, without_values_all_is_0)
{
    cr_assert_eq(histogram_at(&h, 0.5), 0);
    cr_assert_eq(h.max, 0);
}

Test(histogram, small_values_are_exact)
{
    for (uint64_t us = 1; us <= 100; us++)
        histogram_add(&h, us);
    cr_assert_eq(histogram_at(&h, 0.5), 50);
    cr_assert_eq(histogram_at(&h, 0.9), 90);
    cr_assert_eq(histogram_at(&h, 1), 100);
    cr_assert_eq(histogram_at(&h, 0), 1);
}

Test(histogram, large_values_are_at_most_one_64th_too_high_and_never_too_low)
{
    for (uint64_t us = 100; us < (uint64_t)1 << 39; us = us * 3 / 2) {
        struct histogram one = {.count = 0};

        histogram_add(&one, us);
        histogram_add(&one, (uint64_t)1 << 39); /* so that the maximum does not help */
        cr_assert_geq(histogram_at(&one, 0.5), us);
        cr_assert_leq(histogram_at(&one, 0.5), us + us / 64);
    }
}

Test(histogram, a_value_beyond_all_bins_is_still_the_maximum)
{
    histogram_add(&h, UINT64_MAX);
    cr_assert_eq(h.max, UINT64_MAX);
    cr_assert_gt(histogram_at(&h, 0.5), (uint64_t)1 << 39);
}

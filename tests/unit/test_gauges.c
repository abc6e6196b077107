/* What the state process shows of itself, and how long things took. */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "replica/gauges.h"
#include "tests/lib/cluster.h"

Test(gauges, nothing_is_seen_before_something_was_shown_and_after_it_was_cleared)
{
    struct cluster *c = cluster_new(1, 1);
    struct gauges *gauges = gauges_map();
    struct times commits = {0};
    struct gauges_view view;

    cr_assert_not_null(gauges);
    cr_expect_not(gauges_look(gauges, &view, &commits));
    cluster_count(c, 0, "hits");
    cluster_count(c, 0, "votes");
    gauges_publish(gauges, cluster_node(c, 0), NULL);
    cr_assert(gauges_look(gauges, &view, &commits));
    cr_expect_eq(view.counters, 2);
    cr_expect_eq(view.counts, 2);
    cr_expect_not(view.provisional);
    cr_expect_eq(view.peers, 0);
    gauges_clear(gauges);
    cr_expect_not(gauges_look(gauges, &view, &commits));
    cluster_free(c);
}

Test(gauges, what_a_child_showed_is_seen_by_its_parent)
{
    struct gauges *gauges = gauges_map();
    struct times commits = {0};
    struct gauges_view view;
    pid_t pid = fork();

    if (pid == 0) {
        struct cluster *c = cluster_new(1, 1);

        cluster_count(c, 0, "hits");
        times_add(gauges_commits(gauges), 600);
        gauges_publish(gauges, cluster_node(c, 0), NULL);
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_assert(gauges_look(gauges, &view, &commits));
    cr_expect_eq(view.counts, 1);
    cr_expect_eq(commits.sum_us, 600);
}

Test(times, each_time_is_counted_in_the_first_bucket_that_holds_it)
{
    struct times times = {0}, sum = {0};

    times_add(&times, 0);
    times_add(&times, times_bounds_us[0]);
    times_add(&times, times_bounds_us[0] + 1);
    times_add(&times, times_bounds_us[TIMES_BUCKETS - 2] + 1);
    cr_expect_eq(times.bucket[0], 2);
    cr_expect_eq(times.bucket[1], 1);
    cr_expect_eq(times.bucket[TIMES_BUCKETS - 1], 1);
    times_merge(&sum, &times);
    times_merge(&sum, &times);
    cr_expect_eq(sum.bucket[0], 4);
    cr_expect_eq(sum.sum_us, 2 * times.sum_us);
}

Test(times, the_bounds_only_grow)
{
    for (unsigned i = 1; i < TIMES_BUCKETS - 1; i++)
        cr_expect_gt(times_bounds_us[i], times_bounds_us[i - 1]);
}

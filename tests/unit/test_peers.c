/* Several nodes, each on a disk of its own, over a network that loses, repeats and reorders. */
#include <criterion/criterion.h>
#include <string.h>

#include "replica/streams.h"
#include "replica/verify.h"
#include "tests/lib/cluster.h"
#include "tests/lib/history.h"

static void count_many(struct cluster *c, size_t node, const char *name, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        cr_assert_eq(cluster_count(c, node, name).status, STATUS_PROVISIONAL);
}

Test(peers, what_one_node_counts_all_others_come_to_hold)
{
    struct cluster *c = cluster_new(3, 1);

    count_many(c, 0, "hits", 10);
    count_many(c, 1, "hits", 5);
    count_many(c, 2, "votes", 7);
    cluster_run(c, 3000);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(cluster_total(c, i, "hits"), 15);
        cr_assert_eq(cluster_total(c, i, "votes"), 7);
    }
    cr_assert(cluster_equal(c));
    cluster_free(c);
}

Test(peers, a_network_that_loses_and_repeats_delays_and_no_more)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct cluster *c = cluster_new(3, seed);

        cluster_set_loss(c, 30, 20);
        for (unsigned i = 0; i < 200; i++) {
            cluster_count(c, i % 3, "hits");
            cluster_run(c, 10);
        }
        cluster_run(c, 60000);
        for (size_t i = 0; i < 3; i++)
            cr_assert_eq(cluster_total(c, i, "hits"), 200, "seed %d, node %zu: %d",
                         (int)seed, i, (int)cluster_total(c, i, "hits"));
        cr_assert(cluster_equal(c));
        cluster_free(c);
    }
}

Test(peers, nodes_that_were_apart_agree_again_by_themselves)
{
    struct cluster *c = cluster_new(3, 1);

    cluster_run(c, 1000);
    for (size_t i = 1; i < 3; i++) {
        cluster_cut(c, 0, i, true);
        cluster_cut(c, i, 0, true);
    }
    count_many(c, 0, "hits", 100);
    count_many(c, 1, "hits", 100);
    cluster_run(c, 30000);
    cr_assert_eq(cluster_total(c, 0, "hits"), 100);
    cr_assert_eq(cluster_total(c, 2, "hits"), 100);
    for (size_t i = 1; i < 3; i++) {
        cluster_cut(c, 0, i, false);
        cluster_cut(c, i, 0, false);
    }
    cluster_run(c, 10000);
    cr_assert_eq(cluster_total(c, 0, "hits"), 200);
    cr_assert(cluster_equal(c));
    cluster_free(c);
}

Test(peers, two_nodes_that_cannot_reach_each_other_meet_through_a_third)
{
    struct cluster *c = cluster_new(3, 1);

    cluster_cut(c, 0, 1, true);
    cluster_cut(c, 1, 0, true);
    count_many(c, 0, "hits", 50);
    count_many(c, 1, "hits", 50);
    cluster_run(c, 20000);
    cr_assert_eq(cluster_total(c, 0, "hits"), 100);
    cr_assert_eq(cluster_total(c, 1, "hits"), 100);
    cluster_free(c);
}

Test(peers, a_node_that_crashed_catches_up)
{
    struct cluster *c = cluster_new(3, 1);

    count_many(c, 0, "hits", 20);
    cluster_run(c, 3000);
    cluster_crash(c, 2);
    count_many(c, 1, "hits", 300);
    cluster_run(c, 30000);
    cluster_start(c, 2);
    cluster_run(c, 10000);
    cr_assert_eq(cluster_total(c, 2, "hits"), 320);
    cr_assert(cluster_equal(c));
    cluster_free(c);
}

Test(peers, a_node_that_begins_with_a_checkpoint_goes_on_with_the_streams_in_it)
{
    struct cluster *c = cluster_new(2, 1);

    count_many(c, 0, "hits", 20);
    cluster_run(c, 3000);
    node_want_checkpoint(cluster_node(c, 1));
    cluster_run(c, 1000);
    cluster_crash(c, 1);
    cluster_start(c, 1);
    count_many(c, 0, "hits", 20);
    cluster_run(c, 3000);
    cr_assert_eq(cluster_total(c, 1, "hits"), 40);
    cluster_free(c);
}

Test(peers,
     a_node_that_lost_its_disk_gets_back_what_the_others_hold_its_own_counts_included)
{
    struct cluster *c = cluster_new(3, 1);

    count_many(c, 0, "hits", 20);
    count_many(c, 2, "hits", 30);
    cluster_run(c, 3000);
    cluster_crash(c, 2);
    cluster_wipe(c, 2);
    cluster_start(c, 2);
    cluster_run(c, 10000);
    cr_assert_eq(cluster_total(c, 2, "hits"), 50);
    count_many(c, 2, "hits", 1);
    cluster_run(c, 10000);
    cr_assert_eq(cluster_total(c, 0, "hits"), 51);
    cr_assert(cluster_equal(c));
    cluster_free(c);
}

/* A node that is taken out of every list, or comes back with a new key, leaves counts behind that are in no
 * checkpoint yet. A new node gets them from the others, and takes them if it is told of that key. */
Test(peers, what_a_node_counted_that_is_no_more_reaches_who_comes_later)
{
    struct cluster *c = cluster_new(3, 1);
    const struct public_key former = history_key(2 + 1).public;

    count_many(c, 0, "hits", 20);
    count_many(c, 2, "hits", 30);
    cluster_run(c, 3000);
    cluster_crash(c, 2);
    cluster_list(c, 0, 2, false);
    cluster_crash(c, 1);
    cluster_wipe(c, 1);
    cluster_list(c, 1, 2, false);
    cluster_start(c, 1);
    cluster_run(c, 10000);
    cr_assert_eq(cluster_total(c, 1, "hits"), 20, "of a key that nobody named");
    cr_assert_eq(peers_former(cluster_peers(c, 1), &former, 1), ERR_OK);
    cluster_run(c, 10000);
    cr_assert_eq(cluster_total(c, 1, "hits"), 50);
    cr_assert_eq(cluster_total(c, 0, "hits"), 50);
    cluster_list(c, 1, 2, false);
    cr_assert_eq(peers_count(cluster_peers(c, 1)), 1, "nobody waits for it");
    cluster_free(c);
}

struct longest {
    size_t len;
};

static void look_for_length(void *arg, const uint8_t *bytes, size_t len)
{
    struct longest *longest = arg;

    (void)bytes;
    longest->len = len > longest->len ? len : longest->len;
}

Test(peers, restarts_make_messages_no_longer)
{
    struct cluster *c = cluster_new(3, 1);
    struct longest longest = {0};

    for (unsigned i = 0; i < 30; i++) {
        count_many(c, 0, "hits", 1);
        cluster_run(c, 1200);
        cluster_crash(c, 0);
        cluster_start(c, 0);
        cluster_run(c, 1200);
    }
    cluster_listen(c, look_for_length, &longest);
    cluster_run(c, 5000);
    cr_assert_gt(longest.len, 0);
    cr_assert_leq(longest.len, LINK_OVERHEAD + 64 + 3 * CORE_HAVE_ITEM);
    cr_assert(cluster_equal(c));
    cluster_free(c);
}

Test(peers, a_node_that_lost_its_disk_gets_back_streams_that_ended_long_ago)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct cluster *c = cluster_new(3, seed);

        for (unsigned i = 0; i < 20; i++) {
            count_many(c, i % 2, "hits", 2);
            cluster_run(c, 1500);
            cluster_crash(c, i % 2);
            cluster_start(c, i % 2);
            cluster_run(c, 500);
        }
        cluster_crash(c, 2);
        cluster_wipe(c, 2);
        cluster_set_loss(c, 30, 20);
        cluster_start(c, 2);
        cluster_run(c, 30000);
        cr_assert_eq(cluster_total(c, 2, "hits"), 40, "seed %d: %d", (int)seed,
                     (int)cluster_total(c, 2, "hits"));
        cr_assert(cluster_equal(c));
        cluster_free(c);
    }
}

Test(peers, a_node_restored_from_an_old_backup_loses_and_doubles_nothing)
{
    struct cluster *c = cluster_new(3, 1);

    count_many(c, 2, "hits", 20);
    cluster_run(c, 3000);
    cluster_backup(c, 2);
    count_many(c, 2, "hits", 30);
    cluster_run(c, 3000);
    cluster_crash(c, 2);
    cluster_restore(c, 2);
    cluster_start(c, 2);
    count_many(c, 2, "hits", 5);
    cluster_run(c, 10000);
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(cluster_total(c, i, "hits"), 55);
    cr_assert(cluster_equal(c));
    cluster_free(c);
}

static void look_for_name(void *arg, const uint8_t *bytes, size_t len)
{
    *(bool *)arg = *(bool *)arg || memmem(bytes, len, "secret-name", 11) != NULL;
}

Test(peers, no_counters_name_is_readable_on_the_wire)
{
    struct cluster *c = cluster_new(2, 1);
    bool found = false;

    cluster_listen(c, look_for_name, &found);
    count_many(c, 0, "secret-name", 3);
    cluster_run(c, 3000);
    cr_assert_eq(cluster_total(c, 1, "secret-name"), 3);
    cr_assert_not(found);
    cluster_free(c);
}

Test(peers, a_node_that_joins_says_no_number_before_it_has_caught_up)
{
    struct cluster *c = cluster_new(3, 1);

    count_many(c, 0, "hits", 20);
    cluster_run(c, 3000);
    cluster_crash(c, 2);
    cluster_wipe(c, 2);
    cluster_start(c, 2);
    cr_assert_eq(cluster_count(c, 2, "hits").status, STATUS_UNAVAILABLE);
    cluster_run(c, 1900);
    cr_assert_eq(cluster_count(c, 2, "hits").number, 21);
    cluster_free(c);
}

static void cut_both(struct cluster *c, bool cut)
{
    cluster_cut(c, 0, 1, cut);
    cluster_cut(c, 1, 0, cut);
}

/* Two nodes, the second of which has lost its disk and has got some of its blocks back, but not all. */
static struct cluster *in_the_middle_of_joining(unsigned blocks)
{
    struct cluster *c = cluster_new(2, 1);
    struct id stream;

    cluster_fill(c, 0, "hits", false, blocks);
    cluster_run(c, 3000);
    stream = node_position(cluster_node(c, 0)).stream;
    cluster_crash(c, 1);
    cluster_wipe(c, 1);
    cluster_start(c, 1);
    for (unsigned i = 0; core_held(node_core(cluster_node(c, 1)), &stream) == 0; i++) {
        cr_assert_lt(i, 2000, "it gets no blocks");
        cluster_run(c, 1);
    }
    cr_assert_lt(core_held(node_core(cluster_node(c, 1)), &stream), blocks);
    return c;
}

Test(peers, a_node_that_crashes_while_it_joins_says_no_number_before_it_has_caught_up)
{
    struct cluster *c = in_the_middle_of_joining(20);

    for (unsigned i = 0; i < 3; i++) {
        cluster_crash(c, 1);
        cut_both(c, true);
        cluster_start(c, 1);
        cr_assert_eq(cluster_count(c, 1, "hits").status, STATUS_UNAVAILABLE);
        cluster_run(c, 1000);
        cr_assert_eq(cluster_count(c, 1, "hits").status, STATUS_UNAVAILABLE);
        node_want_checkpoint(cluster_node(c, 1)); /* It says so, too. */
        cluster_run(c, 100);
    }
    cut_both(c, false);
    cluster_run(c, 5000);
    cr_assert_eq(cluster_count(c, 1, "hits").number, 20 * CLUSTER_BLOCK + 1);
    cluster_free(c);
}

Test(peers, a_node_that_has_caught_up_counts_at_once_after_a_restart)
{
    struct cluster *c = in_the_middle_of_joining(20);
    struct verify_report report;

    cluster_run(c, 5000);
    cluster_crash(c, 1);
    cut_both(c, true);
    cluster_start(c, 1);
    cr_assert_eq(cluster_count(c, 1, "hits").number, 20 * CLUSTER_BLOCK + 1);
    cr_assert_eq(verify_log(cluster_disk(c, 1), &crypto_real, NULL, UINT64_MAX, &report),
                 ERR_OK);
    cluster_free(c);
}

static uint64_t held(struct cluster *c, size_t node, const struct id *stream)
{
    return core_held(node_core(cluster_node(c, node)), stream);
}

/* Node 0 has what was counted. The others have lost their disks; node 1 has got a part of it back, node 2 that from node 1,
 * and neither reaches node 0 any more. */
static struct cluster *two_that_join(struct id *stream)
{
    struct cluster *c = cluster_new(3, 1);

    cluster_fill(c, 0, "hits", false, 20);
    cluster_run(c, 3000);
    *stream = node_position(cluster_node(c, 0)).stream;
    for (size_t i = 1; i < 3; i++) {
        cluster_crash(c, i);
        cluster_wipe(c, i);
    }
    cluster_cut(c, 0, 2, true);
    cluster_cut(c, 2, 0, true);
    for (size_t i = 1; i < 3; i++)
        cluster_start(c, i);
    for (unsigned i = 0; held(c, 1, stream) == 0; i++) {
        cr_assert_lt(i, 2000, "it gets no blocks");
        cluster_run(c, 1);
    }
    cut_both(c, true);
    for (unsigned i = 0; held(c, 2, stream) == 0; i++) {
        cr_assert_lt(i, 2000, "it gets no blocks");
        cluster_run(c, 1);
    }
    return c;
}

Test(peers, a_node_has_not_caught_up_with_a_peer_that_joins_itself)
{
    struct id stream;
    struct cluster *c = two_that_join(&stream);

    cluster_run(c, 200);
    cr_assert_lt(held(c, 1, &stream), 20);
    cr_assert_eq(held(c, 2, &stream), held(c, 1, &stream));
    cr_assert_eq(cluster_count(c, 2, "hits").status, STATUS_UNAVAILABLE);
    cr_assert_eq(cluster_count(c, 1, "hits").status, STATUS_UNAVAILABLE);
    cut_both(c, false);
    cluster_run(c, 5000);
    cr_assert_eq(cluster_count(c, 2, "hits").number, 20 * CLUSTER_BLOCK + 1);
    cluster_free(c);
}

/* Each holds all that is left, and nobody else will come. */
Test(peers, nodes_that_all_join_have_caught_up_once_each_has_what_the_others_have)
{
    struct id stream;
    struct cluster *c = two_that_join(&stream);

    cluster_list(c, 1, 0, false);
    cluster_list(c, 2, 0, false);
    cluster_run(c, PEERS_IDLE_MS);
    cr_assert_eq(cluster_count(c, 2, "hits").status, STATUS_PROVISIONAL);
    cr_assert_eq(cluster_count(c, 1, "hits").status, STATUS_PROVISIONAL);
    cluster_free(c);
}

/* A founder has been a member from its first count on. */
Test(peers, a_node_that_has_counted_alone_does_not_wait_for_its_first_peer)
{
    struct cluster *c = cluster_new(2, 1);

    cluster_crash(c, 0);
    cluster_crash(c, 1);
    cluster_wipe(c, 0);
    cluster_list(c, 0, 1, false);
    cluster_start(c, 0);
    cr_assert_eq(cluster_count(c, 0, "hits").number, 1);
    cluster_list(c, 0, 1, true);
    cr_assert_eq(cluster_count(c, 0, "hits").number, 2);
    cluster_free(c);
}

Test(peers, a_node_that_finds_no_peer_counts_all_the_same_after_join_wait)
{
    struct cluster *c = cluster_new(2, 1);

    cluster_crash(c, 0);
    cluster_crash(c, 1);
    cluster_start(c, 1);
    cr_assert_eq(cluster_count(c, 1, "hits").status, STATUS_UNAVAILABLE);
    cluster_run(c, 2500);
    cr_assert_eq(cluster_count(c, 1, "hits").number, 1);
    cluster_start(c, 0);
    cluster_run(c, 2500);
    cr_assert_eq(cluster_count(c, 0, "hits").number, 2, "one cluster, whoever began");
    cluster_free(c);
}

/* What a node says of another: more than one process with its key is alive. */
static bool says_copied(struct cluster *c, size_t node, size_t peer)
{
    struct peer_figures figures;

    peers_figures(cluster_peers(c, node), peer < node ? peer : peer - 1, &figures);
    return figures.rivals;
}

Test(peers, a_copied_machine_is_an_alarm_at_every_peer_until_the_copy_ends)
{
    struct cluster *c = cluster_new(3, 1);
    size_t copy;

    count_many(c, 2, "hits", 3);
    cluster_run(c, 2000);
    copy = cluster_clone(c, 2, false);
    cluster_run(c, 10000);
    cr_assert(says_copied(c, 0, 2));
    cr_assert(says_copied(c, 1, 2));
    cr_assert_not(says_copied(c, 0, 1), "the others are as they were");
    cr_assert(peers_copied(cluster_peers(c, 2)), "it is told");
    cr_assert_not(peers_copied(cluster_peers(c, 0)));
    cluster_crash(c, copy);
    cluster_run(c, 50000);
    cr_assert(says_copied(c, 0, 2), "it may come again");
    cluster_run(c, 17000); /* 60 s after its end, and 5 s after that was last told */
    cr_assert_not(says_copied(c, 0, 2));
    cr_assert_not(says_copied(c, 1, 2));
    cr_assert_not(peers_copied(cluster_peers(c, 2)));
    cluster_free(c);
}

Test(peers, a_copied_machine_is_an_alarm_over_a_network_that_loses_and_repeats)
{
    struct cluster *c = cluster_new(3, 7);

    cluster_set_loss(c, 20, 20);
    cluster_clone(c, 2, false);
    cluster_run(c, 20000);
    cr_assert(says_copied(c, 0, 2));
    cr_assert(says_copied(c, 1, 2));
    cluster_free(c);
}

Test(peers, all_that_a_node_and_its_copy_have_counted_stands_once_each_was_reachable)
{
    struct cluster *c = cluster_new(3, 1);
    size_t copy;

    count_many(c, 2, "hits", 3);
    cluster_run(c, 2000);
    copy = cluster_clone(c, 2, false);
    count_many(c, 2, "hits", 10);
    count_many(c, copy, "hits", 100);
    cluster_run(c, 5000);
    cr_assert_eq(cluster_total(c, 0, "hits"), 13, "the copy is not reached");
    for (unsigned turn = 0; turn < 4; turn++) { /* An address that moves to and fro. */
        cluster_move(c, 2, turn % 2 == 0 ? copy : 2);
        cluster_run(c, 20000);
        cr_assert(says_copied(c, 0, 2));
    }
    for (size_t i = 0; i <= copy; i++)
        cr_assert_eq(cluster_total(c, i, "hits"), 113, "node %zu: %d", i,
                     (int)cluster_total(c, i, "hits"));
    cr_assert(cluster_equal(c));
    cluster_free(c);
}

static uint64_t forks(struct cluster *c, size_t node)
{
    struct core_figures figures;

    core_figures(node_core(cluster_node(c, node)), &figures);
    return figures.forks;
}

static uint64_t sent(struct cluster *c, size_t node, size_t peer)
{
    struct peer_figures figures;

    peers_figures(cluster_peers(c, node), peer < node ? peer : peer - 1, &figures);
    cr_assert_not(figures.differs);
    cr_assert_not(figures.too_far);
    cr_assert_eq(figures.lacks, 0);
    return figures.sent;
}

/* Node 2, and a copy of its process that counted in the same stream. Nodes 0 and 1 have seen both. */
static struct cluster *forked(size_t *copy)
{
    struct cluster *c = cluster_new(3, 1);

    *copy = cluster_clone(c, 2, true);
    count_many(c, 2, "hits", 1);
    cluster_run(c, 3000);
    count_many(c, *copy, "hits", 1);
    cluster_move(c, 2, *copy);
    cluster_run(c, 10000);
    return c;
}

Test(peers, a_resumed_snapshot_forks_its_stream_and_counts_on_in_a_new_one)
{
    size_t copy;
    struct cluster *c = forked(&copy);

    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(forks(c, i), 1);
        cr_assert_eq(cluster_total(c, i, "hits"), 1, "the first stands");
    }
    cr_assert_eq(forks(c, copy), 1);
    count_many(c, copy, "hits", 10);
    cluster_run(c, 3000);
    for (size_t i = 0; i < 2; i++)
        cr_assert_eq(cluster_total(c, i, "hits"), 11);
    cluster_free(c);
}

Test(peers, a_node_whose_stream_the_others_have_frozen_counts_on_in_a_new_one)
{
    size_t copy;
    struct cluster *c = forked(&copy);

    cluster_crash(c, copy);
    cluster_move(c, 2, 2);
    cluster_run(c, 10000);
    count_many(c, 2, "hits", 5);
    cluster_run(c, 3000);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(cluster_total(c, i, "hits"), 6, "node %zu", i);
        cr_assert_eq(forks(c, i), 1, "the proof has reached node %zu", i);
    }
    cr_assert(cluster_equal(c));
    cluster_free(c);
}

Test(peers, who_holds_one_way_of_a_fork_is_handed_the_proof_by_who_has_met_both)
{
    struct cluster *c = cluster_new(3, 1);
    size_t copy = cluster_clone(c, 2, true);

    count_many(c, 2, "hits", 1);
    cluster_run(c, 3000);
    cluster_cut(c, 1, 2, true);
    cluster_cut(c, 2, 1, true);
    count_many(c, copy, "hits", 1);
    cluster_move(c, 2, copy);
    cluster_run(c, 3000);
    cr_assert_eq(forks(c, 0), 1);
    cluster_run(c, 3 * PEERS_PROOF_MS);
    cr_assert_eq(forks(c, 1), 1, "it holds what node 0 holds, and has not met the copy");
    cluster_crash(c, 1);
    cluster_start(c, 1);
    cr_assert_eq(forks(c, 1), 1, "a restart keeps it");
    cluster_free(c);
}

/* Memory that went wrong, or a peer that lies. */
static void freeze_all(struct cluster *c, size_t node)
{
    const struct streams *streams = core_streams(node_core(cluster_node(c, node)));

    for (struct stream *s = streams->table; s != NULL; s = s->hh.next)
        s->frozen = true;
}

Test(peers, a_peer_that_says_of_each_stream_that_it_forks_brings_about_few_new_ones)
{
    struct cluster *c = cluster_new(2, 1);
    struct core_figures figures;

    for (unsigned i = 0; i < 40; i++) {
        count_many(c, 0, "hits", 1);
        cluster_run(c, 400);
        freeze_all(c, 1);
        cluster_run(c, 100);
    }
    core_figures(node_core(cluster_node(c, 0)), &figures);
    cr_assert_geq(figures.streams, 2);
    cr_assert_leq(figures.streams, 2 + 20000 / PEERS_RENEW_MS);
    cluster_free(c);
}

Test(peers, nodes_are_at_rest_beside_a_fork)
{
    size_t copy;
    struct cluster *c = forked(&copy);
    uint64_t before;

    before = sent(c, 0, 1) + sent(c, 0, 2) + sent(c, 1, 2);
    cluster_run(c, 60000);
    cr_assert_eq(sent(c, 0, 1) + sent(c, 0, 2) + sent(c, 1, 2), before);
    cluster_free(c);
}

Test(peers, a_log_with_a_fork_is_whole_and_names_it)
{
    struct verify_report report;
    size_t copy;
    struct cluster *c = forked(&copy);

    cr_assert_eq(verify_log(cluster_disk(c, 0), &crypto_real, NULL, UINT64_MAX, &report),
                 ERR_OK, "%s", report.reason);
    cr_assert_eq(report.forks, 1);
    cluster_crash(c, 0);
    cluster_start(c, 0);
    cr_assert_eq(forks(c, 0), 1, "a restart keeps it");
    cluster_run(c, 5000);
    count_many(c, copy, "hits", 3);
    cluster_run(c, 5000);
    cr_assert_eq(cluster_total(c, 0, "hits"), 4);
    cluster_free(c);
}

Test(peers, a_node_that_is_started_again_and_again_is_no_copy)
{
    struct cluster *c = cluster_new(3, 1);

    for (unsigned i = 0; i < 12; i++) {
        count_many(c, 2, "hits", 1);
        cluster_run(c, i * 150);
        cluster_crash(c, 2);
        cluster_run(c, i % 3 * 700);
        cluster_start(c, 2);
        cluster_run(c, 1);
        cr_assert_not(says_copied(c, 0, 2));
        cr_assert_not(says_copied(c, 1, 2));
        cluster_run(c, 2500);
    }
    cr_assert_not(says_copied(c, 0, 2));
    cluster_free(c);
}

Test(peers, a_node_whose_state_differs_though_it_holds_the_same_blocks_is_an_alarm)
{
    struct cluster *c = cluster_new(2, 1);
    struct peer_figures figures;
    struct item *item;

    count_many(c, 0, "hits", 3);
    cluster_run(c, 3000);
    peers_figures(cluster_peers(c, 0), 0, &figures);
    cr_assert_not(figures.differs);
    item =
        core_item_from(node_core(cluster_node(c, 1)), &counter_component, "", 0, false);
    item->total++; /* Memory that went wrong. */
    count_many(c, 0, "hits", 1);
    cluster_run(c, 3000);
    peers_figures(cluster_peers(c, 0), 0, &figures);
    cr_assert(figures.differs);
    cluster_free(c);
}

Test(peers,
     what_a_node_counted_before_its_disk_was_lost_is_not_counted_again_once_it_is_back)
{
    struct cluster *c = cluster_new(2, 1);
    struct msg_count_rep first = cluster_count(c, 0, "hits"), again;

    cluster_run(c, 3000);
    cluster_crash(c, 0);
    cluster_wipe(c, 0);
    cluster_start(c, 0);
    cluster_run(c, 3000);
    again = cluster_repeat(c, 0, "hits", &first.id);
    cr_expect_eq(again.number, first.number);
    cr_expect_eq(cluster_total(c, 0, "hits"), 1);
    /* And from a checkpoint and what stands behind it. */
    cluster_fill(c, 0, "many", false, 40);
    cluster_crash(c, 0);
    cluster_start(c, 0);
    again = cluster_repeat(c, 0, "hits", &first.id);
    cr_expect_eq(cluster_total(c, 0, "hits"), 1);
    cluster_free(c);
}

Test(peers, a_peer_that_was_taken_out_and_put_back_is_heard_again)
{
    struct cluster *c = cluster_new(2, 1);

    count_many(c, 0, "hits", 20);
    cluster_run(c, 20000);
    cluster_list(c, 0, 1, false);
    cluster_run(c, 1000);
    cluster_list(c, 0, 1, true);
    count_many(c, 0, "hits", 1);
    cluster_run(c, 8000);
    cr_expect_eq(cluster_total(c, 1, "hits"), 21);
    cr_expect(cluster_equal(c));
    cluster_free(c);
}

Test(peers, nodes_that_join_do_not_count_because_they_have_met_each_other)
{
    struct cluster *c = cluster_new(3, 1);

    for (size_t i = 1; i < 3; i++) {
        cluster_cut(c, 0, i, true);
        cluster_crash(c, i);
        cluster_wipe(c, i);
    }
    count_many(c, 0, "hits", 5);
    cluster_start(c, 1);
    cluster_start(c, 2);
    cluster_run(c, 1000);
    for (size_t i = 1; i < 3; i++)
        cr_expect_eq(cluster_count(c, i, "hits").status, STATUS_UNAVAILABLE);
    cluster_cut(c, 0, 1, false);
    cluster_run(c, 900);
    cr_expect_eq(cluster_count(c, 1, "hits").number, 6);
    cluster_free(c);
}

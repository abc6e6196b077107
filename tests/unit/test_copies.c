/* tests/unit/test_copies.c: answers that wait until other nodes hold the count. Several nodes in one process, each on a
 * disk of its own; time is the test's. Node 0 wants the copies, unless a test says otherwise. */
#include <criterion/criterion.h>

#include "tests/lib/cluster.h"

enum { WAIT_MS = 2000 };

/* The answer to what was asked; none yet is status 0. More than one is never right. */
static struct msg_count_rep answer(struct cluster *c, size_t node, uint64_t ticket)
{
    struct msg_count_rep rep;
    unsigned count = cluster_answers(c, node, ticket, &rep);

    cr_assert_leq(count, 1, "answered %u times", count);
    return rep;
}

static enum status status(struct cluster *c, size_t node, uint64_t ticket)
{
    return answer(c, node, ticket).status;
}

static void cut_both(struct cluster *c, size_t a, size_t b, bool cut)
{
    cluster_cut(c, a, b, cut);
    cluster_cut(c, b, a, cut);
}

static struct cluster *cluster(size_t nodes, unsigned copies)
{
    struct cluster *c = cluster_new(nodes, 1);

    cluster_run(c, 100);
    cluster_set_copies(c, 0, copies, WAIT_MS);
    return c;
}

static struct core_figures figures(struct cluster *c, size_t node)
{
    struct core_figures figures;

    core_figures(node_core(cluster_node(c, node)), &figures);
    return figures;
}

Test(copies, a_count_is_answered_once_so_many_nodes_hold_it_and_no_sooner)
{
    for (unsigned copies = 1; copies <= 3; copies++) {
        struct cluster *c = cluster(3, copies);
        struct msg_count_rep rep = {0};
        struct id id;
        uint64_t ticket = cluster_ask(c, 0, "hits", &id);

        for (unsigned ms = 0; ms < 100 && rep.status == 0; ms++) {
            unsigned holding = 0;

            rep = answer(c, 0, ticket);
            for (size_t i = 0; i < 3; i++)
                holding += cluster_total(c, i, "hits") == 1;
            cr_assert(rep.status == 0 || holding >= copies, "%u of %u", holding, copies);
            cr_assert(rep.status != 0 || copies > 1);
            cluster_run(c, 1);
        }
        cr_expect_eq(rep.status, STATUS_PROVISIONAL);
        cr_expect_eq(rep.number, 1);
        cr_expect_eq(figures(c, 0).waiting, 0);
        cluster_free(c);
    }
}

Test(copies, a_cut_link_to_one_of_two_peers_costs_two_copies_nothing_and_three_the_answer)
{
    for (unsigned copies = 2; copies <= 3; copies++) {
        struct cluster *c = cluster(3, copies);
        struct id id;
        uint64_t ticket;

        cut_both(c, 0, 1, true);
        cut_both(c, 2, 1, true);
        ticket = cluster_ask(c, 0, "hits", &id);
        cluster_run(c, 100);
        cr_expect_eq(status(c, 0, ticket), copies == 2 ? STATUS_PROVISIONAL : 0);
        cluster_run(c, WAIT_MS);
        cr_expect_eq(status(c, 0, ticket),
                     copies == 2 ? STATUS_PROVISIONAL : STATUS_UNKNOWN);
        cluster_free(c);
    }
}

Test(copies, a_copy_that_came_by_way_of_a_third_node_counts)
{
    struct cluster *c = cluster(3, 3);
    struct id id;
    uint64_t ticket;

    cluster_cut(c, 0, 1, true); /* What node 1 says still arrives. */
    ticket = cluster_ask(c, 0, "hits", &id);
    cluster_run(c, 1900);
    cr_expect_eq(status(c, 0, ticket), STATUS_PROVISIONAL);
    cluster_free(c);
}

Test(copies,
     what_was_counted_and_not_copied_in_time_is_UNKNOWN_and_its_repeat_has_the_number)
{
    struct cluster *c = cluster(2, 2);
    struct id id;
    uint64_t first = cluster_ask(c, 0, "hits", &id), lost, again;

    cluster_run(c, 100);
    cr_assert_eq(answer(c, 0, first).number, 1);
    cut_both(c, 0, 1, true);
    lost = cluster_ask(c, 0, "hits", &id);
    cluster_run(c, WAIT_MS - 50);
    cr_expect_eq(status(c, 0, lost), 0);
    cluster_run(c, 100);
    cr_expect_eq(status(c, 0, lost), STATUS_UNKNOWN);
    cr_expect_eq(answer(c, 0, lost).number, 0);
    cr_expect_eq(figures(c, 0).late, 1);
    again = cluster_ask_again(c, 0, "hits", &id);
    cr_expect_eq(status(c, 0, again), 0, "it waits, too");
    cluster_run(c, WAIT_MS + 50);
    cr_expect_eq(status(c, 0, again), STATUS_UNKNOWN, "and is told as much");
    again = cluster_ask_again(c, 0, "hits", &id);
    cut_both(c, 0, 1, false);
    cluster_run(c, WAIT_MS - 10);
    cr_expect_eq(answer(c, 0, again).number, 2);
    cr_expect_eq(status(c, 0, again), STATUS_PROVISIONAL);
    again = cluster_ask_again(c, 0, "hits", &id);
    cr_expect_eq(answer(c, 0, again).number, 2, "at once: the copies are there");
    cr_expect_eq(cluster_total(c, 1, "hits"), 2);
    cr_expect_eq(figures(c, 0).waiting, 0);
    cluster_free(c);
}

Test(copies, after_a_count_without_copies_new_ones_are_refused_until_all_is_copied)
{
    struct cluster *c = cluster(2, 2);
    struct id id;
    uint64_t ticket;

    cut_both(c, 0, 1, true);
    ticket = cluster_ask(c, 0, "hits", &id);
    cluster_run(c, WAIT_MS + 50);
    cr_assert_eq(status(c, 0, ticket), STATUS_UNKNOWN);
    cr_assert_eq(figures(c, 0).nodes, 2, "it is not known to be away yet");
    ticket = cluster_ask(c, 0, "hits", &id);
    cr_expect_eq(status(c, 0, ticket), STATUS_UNAVAILABLE);
    cr_expect_not(core_copies_to_be_had(node_core(cluster_node(c, 0))));
    cut_both(c, 0, 1, false);
    cluster_run(c, 3000);
    cr_expect(core_copies_to_be_had(node_core(cluster_node(c, 0))));
    ticket = cluster_ask(c, 0, "hits", &id);
    cluster_run(c, 100);
    cr_expect_eq(answer(c, 0, ticket).number, 2, "what was refused was not counted");
    cluster_free(c);
}

Test(copies, with_fewer_nodes_connected_nothing_is_counted_and_what_was_is_still_said)
{
    struct cluster *c = cluster(3, 2);
    struct id known, id;
    uint64_t ticket = cluster_ask(c, 0, "hits", &known);

    cluster_run(c, 100);
    cr_assert_eq(answer(c, 0, ticket).number, 1);
    cluster_crash(c, 1);
    cluster_crash(c, 2);
    cluster_run(c, PEERS_SILENT_MS + 1000);
    cr_assert_eq(figures(c, 0).nodes, 1);
    ticket = cluster_ask(c, 0, "hits", &id);
    cr_expect_eq(status(c, 0, ticket), STATUS_UNAVAILABLE);
    cr_expect_eq(cluster_total(c, 0, "hits"), 1, "a get is answered as ever");
    ticket = cluster_ask_again(c, 0, "hits", &known);
    cluster_run(c, WAIT_MS + 50);
    cr_expect_eq(status(c, 0, ticket), STATUS_UNKNOWN, "nobody says that he holds it");
    cluster_start(c, 2);
    cluster_run(c, 2500);
    ticket = cluster_ask(c, 0, "hits", &id);
    cluster_run(c, 100);
    cr_expect_eq(answer(c, 0, ticket).number, 2);
    cluster_free(c);
}

/* Start it again with an empty disk, until node 0 knows its new run, which has not said yet what it holds. */
static void restart_wiped(struct cluster *c, size_t node)
{
    struct peer_figures figures;

    cluster_crash(c, node);
    cluster_wipe(c, node);
    cluster_start(c, node);
    for (unsigned ms = 0; ms < 1000; ms++) {
        cluster_run(c, 1);
        peers_figures(cluster_peers(c, 0), node - 1, &figures);
        if (figures.connected && !figures.known)
            return;
    }
    cr_assert_fail("its new run is not known");
}

Test(copies, what_only_a_peers_last_run_held_does_not_count)
{
    struct cluster *c = cluster(3, 3);
    struct id id;
    uint64_t ticket;

    cut_both(c, 0, 2, true);
    cut_both(c, 1, 2, true);
    ticket = cluster_ask(c, 0, "hits", &id);
    cluster_run(c, 100);
    cr_assert_eq(cluster_total(c, 1, "hits"), 1);
    restart_wiped(c, 1);
    cut_both(c, 0, 1, true);
    cut_both(c, 0, 2, false);
    cluster_run(c, WAIT_MS - 400);
    cr_assert_eq(cluster_total(c, 2, "hits"), 1);
    cr_expect_eq(status(c, 0, ticket), 0);
    cluster_free(c);
}

Test(copies, a_peer_that_was_wiped_before_the_answer_does_not_hold_it_any_more)
{
    struct cluster *c = cluster(3, 3);
    struct id id;
    uint64_t ticket;

    cut_both(c, 0, 2, true);
    cut_both(c, 1, 2, true);
    ticket = cluster_ask(c, 0, "hits", &id);
    cluster_run(c, 100);
    cr_assert_eq(cluster_total(c, 1, "hits"), 1);
    cr_assert_eq(status(c, 0, ticket), 0);
    /* Node 1 loses it, and says so, but does not get it again; then node 2 gets it. */
    restart_wiped(c, 1);
    cluster_cut(c, 0, 1, true);
    cut_both(c, 0, 2, false);
    cluster_run(c, WAIT_MS - 400);
    cr_assert_eq(cluster_total(c, 2, "hits"), 1);
    cr_expect_neq(status(c, 0, ticket), STATUS_PROVISIONAL);
    cluster_run(c, 500);
    cr_expect_eq(status(c, 0, ticket), STATUS_UNKNOWN);
    cluster_free(c);
}

Test(copies, a_repeat_after_a_restart_waits_for_the_stream_of_the_run_before)
{
    struct cluster *c = cluster(2, 2);
    struct id id;
    uint64_t ticket;

    cluster_cut(c, 0, 1, true);
    ticket = cluster_ask(c, 0, "hits", &id);
    cluster_run(c, 100);
    cr_assert_eq(status(c, 0, ticket), 0);
    cluster_crash(c, 0);
    cluster_cut(c, 0, 1, false);
    cluster_start(c, 0);
    ticket = cluster_ask_again(c, 0, "hits", &id);
    cr_expect_eq(status(c, 0, ticket), 0);
    cr_expect_eq(cluster_total(c, 0, "hits"), 1);
    cluster_run(c, WAIT_MS - 50);
    cr_expect_eq(answer(c, 0, ticket).number, 1);
    cr_expect_eq(status(c, 0, ticket), STATUS_PROVISIONAL);
    cr_expect_eq(cluster_total(c, 1, "hits"), 1);
    cluster_free(c);
}

Test(copies, a_lower_number_serves_those_who_wait_and_a_higher_one_makes_them_wait_on)
{
    struct cluster *c = cluster(3, 2);
    struct id id;
    uint64_t low, high;

    cut_both(c, 0, 1, true);
    cut_both(c, 0, 2, true);
    low = cluster_ask(c, 0, "hits", &id);
    cluster_run(c, 100);
    cr_expect_eq(status(c, 0, low), 0);
    cluster_set_copies(c, 0, 1, WAIT_MS);
    cr_expect_eq(answer(c, 0, low).number, 1);
    cluster_set_copies(c, 0, 2, WAIT_MS);
    high = cluster_ask(c, 0, "hits", &id);
    cluster_set_copies(c, 0, 3, WAIT_MS);
    cut_both(c, 0, 1, false);
    cut_both(c, 1, 2, true);
    cluster_run(c, 1500);
    cr_expect_eq(cluster_total(c, 1, "hits"), 2);
    cr_expect_eq(status(c, 0, high), 0);
    cluster_run(c, 600);
    cr_expect_eq(status(c, 0, high), STATUS_UNKNOWN);
    cluster_free(c);
}

Test(copies, many_counts_are_answered_once_each_in_their_order_under_loss)
{
    enum { COUNTS = 500 };
    struct cluster *c = cluster(3, 2);
    uint64_t tickets[COUNTS];
    int64_t before = 0;
    struct id id;

    cluster_set_loss(c, 20, 20);
    for (size_t i = 0; i < COUNTS; i++) {
        tickets[i] = cluster_ask(c, 0, "hits", &id);
        cluster_run(c, 3);
    }
    cluster_run(c, WAIT_MS + 100);
    for (size_t i = 0; i < COUNTS; i++) {
        struct msg_count_rep rep = answer(c, 0, tickets[i]);

        cr_assert_neq(rep.status, 0);
        if (rep.status != STATUS_PROVISIONAL)
            continue;
        cr_assert_gt(rep.number, before);
        before = rep.number;
    }
    cr_expect_gt(before, 0);
    cr_expect_eq(figures(c, 0).waiting, 0);
    cluster_free(c);
}

/* tests/unit/test_catchup.c: a node that lacks what the others' logs no longer have goes over to a checkpoint of
 * theirs, keeps what it holds itself, and then gets blocks. */
#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "replica/streams.h"
#include "replica/verify.h"
#include "tests/lib/cluster.h"
#include "tests/lib/history.h"

enum { MANY = 60, HITS = 2 * CLUSTER_BLOCK };

static uint64_t oldest(struct cluster *c, size_t node)
{
    return wal_first(node_wal(cluster_node(c, node)));
}

static void part(struct cluster *c, size_t node, bool apart)
{
    for (size_t i = 0; i < 3; i++) {
        if (i == node)
            continue;
        cluster_cut(c, i, node, apart);
        cluster_cut(c, node, i, apart);
    }
}

/* The others forget this one, as an operator would make them, or list it again. */
static void list_all(struct cluster *c, size_t node, bool listed)
{
    for (size_t i = 0; i < 3; i++)
        if (i != node)
            cluster_list(c, i, node, listed);
}

/* Three nodes, the third of which is away; the others have counted since, and let the log before go. Their state
 * takes several messages. */
static struct cluster *without_third(uint64_t seed)
{
    struct cluster *c = cluster_new(3, seed);

    cluster_run(c, 3000);
    cluster_fill(c, 0, "hits", false, 2);
    cluster_fill(c, 2, "votes", false, 2);
    cluster_run(c, 3000);
    cluster_crash(c, 2);
    list_all(c, 2, false);
    cluster_fill(c, 0, "many", true, MANY);
    cluster_run(c, 3000);
    cr_assert_gt(oldest(c, 0), 0);
    cr_assert_gt(oldest(c, 1), 0);
    list_all(c, 2, true);
    return c;
}

static void expect_all(struct cluster *c)
{
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(cluster_total(c, i, "hits"), HITS, "node %zu has %d", i,
                     (int)cluster_total(c, i, "hits"));
        cr_assert_eq(cluster_total(c, i, "votes"), 2 * CLUSTER_BLOCK);
    }
    cr_assert(cluster_equal(c));
}

/* What a node has fetched of a checkpoint, from whomever. */
static uint64_t fetched(struct cluster *c, size_t node)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < peers_count(cluster_peers(c, node)); i++) {
        struct peer_figures figures;

        peers_figures(cluster_peers(c, node), i, &figures);
        sum += figures.fetched;
    }
    return sum;
}

/* Until it has fetched so many bytes. */
static void run_until_fetched(struct cluster *c, size_t node, uint64_t bytes)
{
    for (unsigned i = 0; fetched(c, node) < bytes; i++) {
        cr_assert_lt(i, 20000, "it fetches no checkpoint");
        cluster_run(c, 1);
    }
}

Test(catchup, a_node_that_was_away_too_long_goes_over_to_a_checkpoint)
{
    struct cluster *c = without_third(1);
    struct peer_figures figures;

    cluster_start(c, 2);
    cluster_run(c, 3000);
    peers_figures(cluster_peers(c, 0), 1, &figures);
    cr_assert(figures.too_far);
    cluster_run(c, 12000);
    expect_all(c);
    peers_figures(cluster_peers(c, 0), 1, &figures);
    cr_assert_not(figures.too_far);
    cluster_free(c);
}

Test(catchup, a_new_node_joins_a_cluster_whose_old_log_is_gone)
{
    struct cluster *c = without_third(1);

    cluster_wipe(c, 2);
    cluster_start(c, 2);
    cluster_run(c, 15000);
    expect_all(c);
    cr_assert_eq(cluster_count(c, 2, "hits").number, HITS + 1);
    cluster_run(c, 3000);
    cr_assert_eq(cluster_total(c, 0, "hits"), HITS + 1);
    cr_assert(cluster_equal(c));
    cluster_free(c);
}

Test(catchup, what_it_went_over_to_survives_restarts_and_goes_on_with_blocks)
{
    struct cluster *c = without_third(1);

    cluster_start(c, 2);
    cluster_run(c, 15000);
    for (size_t i = 0; i < 3; i++) {
        cluster_fill(c, i, "later", false, 3);
        cluster_run(c, 2000);
        cluster_crash(c, 2);
        cluster_start(c, 2);
        cluster_run(c, 5000);
    }
    expect_all(c);
    cr_assert_eq(cluster_total(c, 2, "later"), 9 * CLUSTER_BLOCK);
    cluster_free(c);
}

Test(catchup, a_log_in_which_a_checkpoint_was_taken_over_can_be_verified)
{
    struct cluster *c = without_third(1);
    struct verify_report report;

    cluster_start(c, 2);
    for (unsigned i = 0; i < 4; i++) {
        cluster_run(c, 15000);
        cr_assert_eq(
            verify_log(cluster_disk(c, 2), &crypto_real, NULL, UINT64_MAX, &report),
            ERR_OK, "step %u: %s", i, report.reason);
        cluster_fill(c, i % 3, "later", false, 2);
        node_want_checkpoint(cluster_node(c, 2));
    }
    expect_all(c);
    cluster_free(c);
}

Test(catchup, a_network_that_loses_and_repeats_delays_the_checkpoint_and_no_more)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct cluster *c = without_third(seed);

        cluster_set_loss(c, 30, 20);
        cluster_start(c, 2);
        cluster_run(c, 120000);
        expect_all(c);
        cluster_free(c);
    }
}

Test(catchup, a_crash_of_either_end_in_the_middle_delays_it_and_no_more)
{
    for (unsigned i = 0; i < 6; i++) {
        struct cluster *c = without_third(i + 1);
        size_t node = i % 2 == 0 ? 2 : 0;

        cluster_list(c, 1, 2,
                     node == 2); /* So that the sender is the one that crashes. */
        cluster_start(c, 2);
        run_until_fetched(c, 2, 1 + i / 2 * 250000);
        cluster_crash(c, node);
        cluster_start(c, node);
        cluster_run(c, 30000);
        expect_all(c);
        cluster_free(c);
    }
}

Test(catchup, a_node_that_crashes_between_a_checkpoint_and_the_blocks_behind_it_joins_on)
{
    struct cluster *c = without_third(1);

    cluster_wipe(c, 2);
    cluster_start(c, 2);
    run_until_fetched(c, 2, 1);
    cluster_fill(c, 0, "later", false, 1);
    for (unsigned i = 0; core_streams(node_core(cluster_node(c, 2)))->count == 0; i++) {
        cr_assert_lt(i, 20000, "it goes over to no checkpoint");
        cluster_run(c, 1);
    }
    cr_assert_not(core_is_open(node_core(cluster_node(c, 2))));
    cluster_crash(c, 2);
    part(c, 2, true);
    cluster_start(c, 2);
    cr_assert_gt(core_streams(node_core(cluster_node(c, 2)))->count, 0);
    cr_assert_eq(cluster_count(c, 2, "hits").status, STATUS_UNAVAILABLE);
    part(c, 2, false);
    cluster_run(c, 15000);
    expect_all(c);
    cr_assert_eq(cluster_count(c, 2, "later").number, CLUSTER_BLOCK + 1);
    cluster_free(c);
}

Test(catchup, a_crash_at_any_moment_of_going_over_leaves_one_state_or_the_other)
{
    struct cluster *c = without_third(1);

    cluster_start(c, 2);
    run_until_fetched(c, 2, 1);
    for (unsigned i = 0; i < 40; i++) {
        cluster_run(c, 1);
        cluster_backup(c, 2);
        cluster_crash(c, 2);
        cluster_restore(c, 2);
        cluster_start(c, 2);
        cluster_run(c, 1000);
    }
    cluster_run(c, 30000);
    expect_all(c);
    cluster_free(c);
}

Test(catchup,
     a_transfer_that_was_cut_off_goes_on_where_it_stood_though_there_is_a_newer_one)
{
    struct cluster *c = without_third(1);
    struct peer_figures figures;
    uint64_t had, has;

    cluster_list(c, 1, 2, false);
    cluster_start(c, 2);
    run_until_fetched(c, 2, 700000);
    peers_figures(cluster_peers(c, 2), 0, &figures);
    part(c, 2, true);
    cluster_run(c, 500);
    had = fetched(c, 2);
    cluster_count(c, 0, "hits");
    node_want_checkpoint(cluster_node(c, 0));
    cluster_run(c, 10000);
    cr_assert_eq(fetched(c, 2), had);
    part(c, 2, false);
    while ((has = fetched(c, 2)) != 0) {
        struct peer_figures now;

        cr_assert_geq(has, had);
        had = has;
        peers_figures(cluster_peers(c, 2), 0, &now);
        cr_assert_eq(now.fetch_bytes, figures.fetch_bytes, "it is still the same one");
        cluster_run(c, 1);
    }
    cr_assert_gt(had, 1500000);
    cluster_run(c, 10000);
    cr_assert_eq(cluster_total(c, 2, "hits"), HITS + 1);
    cr_assert(cluster_equal(c));
    cluster_free(c);
}

Test(catchup, counts_made_before_while_and_after_it_goes_over_are_kept)
{
    struct cluster *c = without_third(1);

    part(c, 2, true);
    cluster_start(c, 2);
    cluster_fill(c, 2, "mine", false, 3); /* Nobody else has these. */
    part(c, 2, false);
    for (unsigned i = 0; i < 1500; i++) {
        cr_assert_eq(cluster_count(c, 2, "mine").number, 3 * CLUSTER_BLOCK + i + 1);
        cluster_run(c, 5);
    }
    cluster_run(c, 30000);
    expect_all(c);
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(cluster_total(c, i, "mine"), 3 * CLUSTER_BLOCK + 1500);
    cluster_free(c);
}

Test(catchup, a_repeat_of_a_count_made_before_it_went_over_gets_the_first_answer)
{
    struct cluster *c = without_third(1);
    struct msg_count_rep first, again;

    cluster_start(c, 2);
    first = cluster_count(c, 2, "mine");
    run_until_fetched(c, 2, 1);
    cluster_run(c, 15000);
    expect_all(c);
    again = cluster_repeat(c, 2, "mine", &first.id);
    cr_assert_eq(again.status, STATUS_PROVISIONAL);
    cr_assert_eq(again.number, first.number);
    cr_assert_eq(cluster_total(c, 2, "mine"), 1);
    cluster_free(c);
}

static enum node_stuck stuck(struct cluster *c, size_t node)
{
    struct node_figures figures;

    node_figures(cluster_node(c, node), &figures);
    return figures.stuck;
}

Test(catchup, a_checkpoint_is_refused_where_blocks_that_it_lacks_are_gone_here)
{
    struct cluster *c = without_third(1);

    cluster_list(c, 2, 0, false);
    cluster_list(c, 2, 1, false);
    cluster_start(c, 2);
    cluster_fill(c, 2, "mine", false, 60);
    cr_assert_gt(oldest(c, 2), 0);
    cluster_list(c, 2, 0, true);
    cluster_list(c, 2, 1, true);
    cluster_run(c, 30000);
    cr_assert_eq(cluster_total(c, 2, "mine"), 60 * CLUSTER_BLOCK, "it keeps its own");
    cr_assert_eq(cluster_total(c, 0, "hits"), HITS, "and so do they");
    cr_assert_not(cluster_equal(c));
    cr_assert_eq(stuck(c, 2), NODE_STUCK_LOG);
    cluster_list(c, 2, 0, false);
    cluster_list(c, 2, 1, false);
    cluster_run(c, NODE_STUCK_MS + 10000);
    cr_assert_eq(stuck(c, 2), NODE_GOES_ON, "it is not offered any more");
    cluster_free(c);
}

/* Node 2 has counted so many blocks behind a snapshot of its memory, and all that it did then is gone from the others' logs.
 * The snapshot is resumed, and counts one. */
static struct cluster *resumed(unsigned blocks, size_t *copy)
{
    struct cluster *c = cluster_new(3, 1);

    *copy = cluster_clone(c, 2, true);
    for (unsigned i = 0; i < blocks; i++)
        cluster_count(c, 2, "hits");
    cluster_run(c, 3000);
    cluster_fill(c, 0, "filled", false, 60);
    cr_assert_gt(oldest(c, 0), 0);
    cr_assert_gt(oldest(c, 1), 0);
    cluster_crash(c, 2);
    cluster_count(c, *copy, "hits");
    cluster_move(c, 2, *copy);
    return c;
}

Test(catchup, a_checkpoint_takes_the_place_of_nothing_that_is_held_of_a_stream_that_forks)
{
    size_t copy;
    struct cluster *c = resumed(1, &copy);

    cluster_run(c, 30000);
    cr_assert_eq(stuck(c, copy), NODE_STUCK_FORK);
    cr_assert_eq(cluster_total(c, copy, "hits"), 1);
    cr_assert_eq(cluster_total(c, copy, "filled"), 0);
    cluster_free(c);
}

Test(catchup, nor_of_one_of_its_own_of_which_others_hold_more_than_it_wrote)
{
    size_t copy;
    struct cluster *c = resumed(3, &copy);

    cluster_run(c, 30000);
    cr_assert_eq(stuck(c, copy), NODE_STUCK_DOUBT);
    cr_assert_eq(cluster_total(c, copy, "hits"), 1);
    cluster_crash(c, copy);
    cluster_start(c, copy);
    cluster_run(c, 90000);
    cr_assert_eq(stuck(c, copy), NODE_STUCK_DOUBT, "a restart does not forget it");
    cr_assert_eq(cluster_total(c, copy, "hits"), 1);
    cluster_free(c);
}

static struct id present_stream(struct cluster *c, size_t node)
{
    struct core_figures figures;

    core_figures(node_core(cluster_node(c, node)), &figures);
    return figures.stream;
}

/* Has it heard from any peer what that holds? */
static bool has_heard(struct cluster *c, size_t node)
{
    for (size_t i = 0; i < peers_count(cluster_peers(c, node)); i++) {
        struct peer_figures figures;

        peers_figures(cluster_peers(c, node), i, &figures);
        if (figures.known)
            return true;
    }
    return false;
}

/* No log has the block any more that would prove it; and whatever is counted in that stream reaches nobody. */
Test(catchup,
     a_node_counts_on_in_a_new_stream_once_a_peer_says_that_its_own_ends_otherwise)
{
    size_t copy;
    struct cluster *c = resumed(1, &copy);
    struct id stream = present_stream(c, copy), later;

    for (unsigned i = 0; !has_heard(c, copy); i++) {
        cr_assert_lt(i, 5000, "it hears of no peer");
        cluster_run(c, 1);
    }
    cluster_cut(c, copy, 0, true);
    cluster_cut(c, copy, 1, true);
    cluster_count(c, copy, "hits");
    later = present_stream(c, copy);
    cr_assert_not(id_equal(&later, &stream));
    cluster_free(c);
}

/* The third node has a copy, which counts in a stream of its own. Only node 0 hears of that; the third gets it from there and
 * is the only one that node 1 reaches. Then it goes over to a checkpoint, in which that stream is known as its own. */
Test(catchup,
     what_a_node_gets_back_of_itself_is_passed_on_though_it_goes_over_to_a_checkpoint)
{
    struct cluster *c = cluster_new(3, 1);
    size_t copy;
    struct peer_figures figures;
    struct position end;

    cluster_run(c, 3000);
    cluster_fill(c, 2, "votes", false, 2);
    cluster_run(c, 3000);
    copy = cluster_clone(c, 2, false);
    cluster_crash(c, 2);
    list_all(c, 2, false);
    cluster_fill(c, 0, "many", true, MANY);
    cluster_run(c, 3000);
    cr_assert_gt(oldest(c, 0), 0);
    list_all(c, 2, true);
    cluster_cut(c, 0, 1, true);
    cluster_cut(c, 1, 0, true);
    cluster_cut(c, copy, 1, true);
    cluster_cut(c, 1, copy, true);
    cluster_move(c, 2, copy);
    cluster_fill(c, copy, "copied", false, 2);
    cluster_run(c, 3000);
    cr_assert_eq(cluster_total(c, 0, "copied"), 2 * CLUSTER_BLOCK);
    cr_assert_eq(cluster_total(c, 1, "copied"), 0);
    cluster_crash(c, copy);
    cluster_move(c, 2, 2);
    cluster_start(c, 2);
    for (unsigned i = 0; cluster_total(c, 2, "copied") == 0; i++) {
        cr_assert_lt(i, 20000, "it gets no blocks");
        cluster_run(c, 1);
    }
    cluster_cut(c, 2, 1, true);
    end = node_position(cluster_node(c, 0));
    for (unsigned i = 0; core_held(node_core(cluster_node(c, 2)), &end.stream) == 0;
         i++) {
        cr_assert_lt(i, 20000, "it goes over to no checkpoint");
        cluster_run(c, 1);
    }
    cluster_cut(c, 2, 1, false);
    for (unsigned i = 0; i < 100; i++) {
        cluster_run(c, 100);
        peers_figures(cluster_peers(c, 2), 1, &figures);
        cr_assert_not(figures.too_far, "the log has all of it");
    }
    cr_assert_eq(cluster_total(c, 1, "copied"), 2 * CLUSTER_BLOCK);
    cluster_free(c);
}

/* ---- what is not to be believed ---- */

static struct checkpoint_seal seal;
static uint8_t *state;
static size_t state_len;

/* The state of a node, signed by whomever. */
static void make_offer(struct node *node, uint8_t signer)
{
    struct key_pair key = history_key(signer);
    size_t max = core_encoded_max(node_core(node));
    struct writer w;
    struct hash hash;

    state = malloc(max);
    w = writer_of(state, max);
    core_encode_state(node_core(node), &w);
    state_len = w.len;
    crypto_real.hash(&hash, state, state_len);
    seal.maker = key.public;
    crypto_real.sign(seal.signature, &hash, &key);
}

Test(catchup, a_checkpoint_that_no_node_of_the_cluster_has_signed_is_refused)
{
    struct cluster *c = cluster_new(2, 1);
    struct node *node = cluster_node(c, 1);

    cluster_run(c, 3000);
    cluster_count(c, 0, "hits");
    make_offer(cluster_node(c, 0), 3);
    cr_assert_eq(node_offer(node, state, state_len, &seal), ERR_REFUSED, "a stranger's");
    free(state);
    make_offer(cluster_node(c, 0), 1);
    state[state_len - 1] ^= 1;
    cr_assert_eq(node_offer(node, state, state_len, &seal), ERR_REFUSED, "changed");
    state[state_len - 1] ^= 1;
    cr_assert_eq(node_offer(node, state, state_len, &seal), ERR_OK, "as it was signed");
    cluster_free(c);
}

Test(catchup, a_checkpoint_of_another_cluster_is_refused)
{
    struct cluster *c = cluster_new(2, 1), *other = cluster_new(3, 1);

    cluster_run(c, 3000);
    cluster_run(other, 3000);
    cluster_count(c, 1, "ours");
    cluster_count(other, 0, "theirs");
    make_offer(cluster_node(other, 0), 1);
    cr_assert_eq(node_offer(cluster_node(c, 1), state, state_len, &seal), ERR_OK);
    cluster_run(c, 3000);
    cr_assert_eq(cluster_total(c, 1, "theirs"), 0);
    cr_assert_eq(cluster_total(c, 1, "ours"), 1);
    cluster_free(c);
    cluster_free(other);
}

/* ---- the core's part ---- */

Test(catchup,
     a_state_without_a_stream_that_is_held_is_refused_unless_the_log_has_all_of_it)
{
    struct core_config config = history_config(1, 9), theirs = history_config(2, 3);
    struct history history = {0};
    struct core *old, *peer, *new;
    uint8_t bytes[4096];
    struct writer w = writer_of(bytes, sizeof bytes);
    struct reader r;

    cr_assert_geq(sodium_init(), 0);
    history_golden(&history, &old);
    peer = core_new(&theirs);
    core_encode_state(peer, &w);
    for (unsigned with_log = 0; with_log < 2; with_log++) {
        enum err err = ERR_OK;

        new = core_new(&config);
        r = reader_of(bytes, w.len);
        cr_assert_eq(core_adopt(new, old, &r), ERR_OK);
        for (size_t i = 0; i < history.count && with_log && err == ERR_OK; i++)
            err = core_adopt_record(new, history.blocks[i].bytes, history.blocks[i].len);
        cr_assert_eq(err, ERR_OK);
        cr_assert_eq(core_adopt_own(new, old), with_log ? ERR_EXISTS : ERR_NOT_FOUND);
        core_free(new);
    }
    new = core_new(&config);
    r = reader_of(bytes, w.len);
    cr_assert_eq(core_adopt(new, old, &r), ERR_OK);
    cr_assert_eq(core_adopt_record(new, history.blocks[1].bytes, history.blocks[1].len),
                 ERR_NOT_FOUND, "what is before it is gone");
    core_free(new);
    core_free(old);
    core_free(peer);
    history_free(&history);
}

/* The newest that there is may be older than what the peer holds of other streams; then it could not take it, and
 * there might be no other for an hour. */
Test(catchup, a_peer_that_is_too_far_is_offered_a_checkpoint_that_was_made_since)
{
    struct cluster *c = without_third(1);
    uint64_t before;

    cluster_fill(c, 0, "later", false, 1);
    cluster_run(c, 3000);
    before = node_checkpoint(cluster_node(c, 0));
    cluster_run(c, 3000);
    cr_assert_eq(node_checkpoint(cluster_node(c, 0)), before, "none is due");
    cluster_start(c, 2);
    cluster_run(c, 3000);
    cr_assert_eq(node_checkpoint(cluster_node(c, 0)), before + 1);
    cluster_run(c, 12000);
    expect_all(c);
    cr_assert_eq(node_checkpoint(cluster_node(c, 0)), before + 1, "one was enough");
    cluster_free(c);
}

/* Of a node's present stream: the first block that its log still has. */
static uint64_t first_kept(struct cluster *c, size_t node)
{
    const struct id stream = node_position(cluster_node(c, node)).stream;
    struct wal_reader *reader = wal_reader_new(node_wal(cluster_node(c, node)), 0);
    struct position position = {0};
    struct wal_frame frame;

    cr_assert_not_null(reader);
    while (!id_equal(&position.stream, &stream)) {
        cr_assert_eq(wal_reader_next(reader, &frame), ERR_OK);
        block_peek(frame.bytes, frame.len, &position);
    }
    wal_reader_free(reader);
    return position.number;
}

/* Its log was let go of while that one was out of its list; the third node has kept it, and brings what is missing. */
Test(catchup,
     blocks_of_no_use_to_a_peer_are_sent_once_others_have_brought_what_is_before_them)
{
    struct cluster *c = cluster_new(3, 1);
    struct peer_figures figures;
    struct id stream;

    cluster_run(c, 3000);
    cluster_crash(c, 2);
    cluster_list(c, 0, 2, false);
    cluster_fill(c, 0, "hits", false, MANY);
    cluster_run(c, 3000);
    stream = node_position(cluster_node(c, 0)).stream;
    cr_assert_gt(first_kept(c, 0), 1);
    cr_assert_eq(oldest(c, 1), 0);
    cluster_list(c, 0, 2, true);
    cluster_start(c, 2);
    for (unsigned i = 0;
         core_held(node_core(cluster_node(c, 2)), &stream) + 1 < first_kept(c, 0); i++) {
        cr_assert_lt(i, 20000, "it gets no blocks");
        cluster_run(c, 1);
    }
    cr_assert_lt(core_held(node_core(cluster_node(c, 2)), &stream), MANY);
    cluster_cut(c, 1, 2, true);
    cluster_cut(c, 2, 1, true);
    for (unsigned i = 0; i < 80; i++) {
        cluster_run(c, 100);
        peers_figures(cluster_peers(c, 0), 1, &figures);
        cr_assert_not(figures.too_far);
    }
    cr_assert(cluster_equal(c));
    cluster_free(c);
}

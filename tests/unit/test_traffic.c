/* tests/unit/test_traffic.c: how many messages go to a peer, how large they are, and how they are taken: as the
 * tap hears it, or as somebody who has a member's key and does what he likes. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "replica/link.h"
#include "replica/pace.h"
#include "replica/streams.h"
#include "tests/lib/cluster.h"
#include "tests/lib/history.h"

enum { SMALL_BLOCK = 200 /* bytes that a block of one count takes, at most */ };

/* ---- what the tap hears ---- */

struct heard {
    size_t messages, longest;
};

static void hear(void *arg, const uint8_t *bytes, size_t len)
{
    struct heard *heard = arg;

    (void)bytes;
    heard->messages++;
    heard->longest = len > heard->longest ? len : heard->longest;
}

Test(traffic, no_message_has_more_blocks_than_can_be_verified_between_two_calls)
{
    struct cluster *c = cluster_new(2, 1);
    struct heard heard = {0};

    cluster_cut(c, 0, 1, true);
    for (unsigned i = 0; i < 1000; i++)
        cluster_count(c, 0, "hits");
    cluster_cut(c, 0, 1, false);
    cluster_listen(c, hear, &heard);
    cluster_run(c, 30000);
    cr_assert_eq(cluster_total(c, 1, "hits"), 1000);
    cr_assert_lt(heard.longest, LINK_OVERHEAD + PEERS_BLOCKS_MAX * SMALL_BLOCK);
    cluster_free(c);
}

Test(traffic, blocks_that_follow_each_other_closely_go_out_together)
{
    struct cluster *c = cluster_new(2, 1);
    struct heard heard = {0};

    cluster_run(c, 500); /* Away from the HAVE that each sends once in a second. */
    cluster_listen(c, hear, &heard);
    for (unsigned i = 0; i < 50; i++)
        cluster_count(c, 0, "hits");
    cluster_run(c, 100);
    cr_assert_eq(cluster_total(c, 1, "hits"), 50);
    cr_assert_leq(heard.messages, 4, "the first block, the others, and two HAVEs");
    cluster_free(c);
}

Test(traffic, a_lone_block_goes_out_at_once)
{
    struct cluster *c = cluster_new(2, 1);
    struct heard heard = {0};

    cluster_run(c, 500);
    cluster_listen(c, hear, &heard);
    cluster_count(c, 0, "hits");
    cr_assert_eq(heard.messages, 1);
    cluster_free(c);
}

/* ---- somebody with the second node's key ---- */

struct member {
    struct cluster *cluster;
    struct link *link;
    struct core *core; /* of another cluster or of the same; its blocks are history's */
    struct history history;
    unsigned messages, blocks; /* BLOCKS that came, and what they held */
    unsigned awaited, haves;
    uint8_t payload[LINK_PAYLOAD_MAX], sealed[LINK_MESSAGE_MAX];
};

static void on_message(void *arg, const uint8_t *bytes, size_t len)
{
    struct member *m = arg;
    uint8_t *copy = malloc(len);
    struct id fresh = history_id(m->blocks + 100);
    struct link_message message;

    cr_assert_not_null(copy);
    memcpy(copy, bytes, len);
    if (link_open(m->link, copy, len, &fresh, 0, &message) != LINK_TAKEN)
        message.type = 0;
    m->haves += message.type == LINK_HAVE;
    m->awaited += message.type == LINK_BLOCKS_AWAITED;
    if (message.type == LINK_BLOCKS) {
        struct reader r = reader_of(message.payload, message.len);

        m->messages++;
        for (; r.left > 0; m->blocks++)
            read_bytes(&r, read_u32(&r));
    }
    free(copy);
}

static void say(struct member *m, uint8_t type, size_t len)
{
    size_t sealed = link_seal(m->link, type, m->payload, len, m->sealed);

    cluster_inject(m->cluster, 0, m->sealed, sealed);
}

/* Until both ends know each other. */
static void greet(struct member *m)
{
    link_down(m->link);
    for (unsigned i = 0; i < 100 && !link_up(m->link); i++) {
        if (link_wants_hello(m->link)) {
            uint8_t hello[LINK_OVERHEAD + LINK_HELLO_BYTES];
            size_t len = link_seal_hello(m->link, hello);

            cluster_inject(m->cluster, 0, hello, len);
        }
        cluster_run(m->cluster, 100);
    }
    cr_assert(link_up(m->link));
}

static struct member *member_new(void)
{
    struct member *m = calloc(1, sizeof *m);
    struct key_pair key = history_key(2);
    struct key_pair other = history_key(1);
    struct core_config config = history_config(2, 77);
    struct id run = history_id(50), challenge = history_id(51);
    struct core_figures figures;

    cr_assert_not_null(m);
    m->cluster = cluster_new(2, 1);
    cluster_crash(m->cluster, 1);
    m->link = link_new(&crypto_real, &key, &other.public, &run, &challenge);
    cr_assert_not_null(m->link);
    cluster_listen(m->cluster, on_message, m);
    greet(m);
    core_figures(node_core(cluster_node(m->cluster, 0)), &figures);
    config.cluster = figures.cluster;
    config.requests = 1024;
    m->core = core_new(&config);
    cr_assert_not_null(m->core);
    core_open(m->core);
    return m;
}

static void member_free(struct member *m)
{
    core_free(m->core);
    history_free(&m->history);
    link_free(m->link);
    cluster_free(m->cluster);
    free(m);
}

static void no_reply(void *arg, uint64_t ticket, const struct msg_count_rep *rep)
{
    (void)arg;
    (void)ticket;
    (void)rep;
}

/* Blocks of one count each into one message of this type. */
static void say_blocks_as(struct member *m, uint8_t type, unsigned count)
{
    struct writer w = writer_of(m->payload, sizeof m->payload);
    size_t first = m->history.count;

    for (unsigned i = 0; i < count; i++) {
        struct msg_count_req req = history_req(1000 + first + i, "theirs", 1);
        struct msg_count_rep rep;

        cr_assert_eq(core_count(m->core, &req, 0, BLOCK_MAX, &rep), CORE_WAITS);
        history_commit(&m->history, m->core, 1000, no_reply, NULL);
        write_u32(&w, (uint32_t)m->history.blocks[first + i].len);
        write_bytes(&w, m->history.blocks[first + i].bytes,
                    m->history.blocks[first + i].len);
    }
    say(m, type, w.len);
}

static void say_blocks(struct member *m, unsigned count)
{
    say_blocks_as(m, LINK_BLOCKS, count);
}

Test(traffic, what_is_held_is_said_once_for_many_blocks_that_nobody_waits_for)
{
    struct member *m = member_new();

    cluster_run(m->cluster, 500);
    m->haves = 0;
    for (unsigned i = 0; i < 50; i++) {
        say_blocks(m, 1);
        cluster_run(m->cluster, 1);
    }
    cr_assert_leq(m->haves, 50 / PEERS_HAVE_MS + 1);
    cluster_run(m->cluster, PEERS_HAVE_MS);
    cr_assert_eq(cluster_total(m->cluster, 0, "theirs"), 50);
    cr_assert_leq(m->haves, 50 / PEERS_HAVE_MS + 2);
    cr_assert_geq(m->haves, 2);
    member_free(m);
}

Test(traffic, what_is_held_is_said_at_once_of_many_bytes)
{
    struct member *m = member_new();

    cluster_run(m->cluster, 500);
    m->haves = 0;
    for (unsigned i = 0; i < 4; i++)
        say_blocks(m, PEERS_BLOCKS_MAX);
    cluster_run(m->cluster, NODE_SHARE_MS);
    cr_assert_geq(m->haves, 2);
    member_free(m);
}

Test(traffic, what_callers_wait_for_is_synced_and_said_at_once)
{
    struct member *m = member_new();

    cluster_run(m->cluster, 500);
    m->haves = 0;
    for (unsigned i = 1; i <= 5; i++) {
        say_blocks_as(m, LINK_BLOCKS_AWAITED, 1);
        cr_assert_eq(cluster_total(m->cluster, 0, "theirs"), i);
        cr_assert_eq(m->haves, i);
    }
    member_free(m);
}

Test(traffic, a_message_with_as_many_blocks_as_are_allowed_is_taken_whole)
{
    struct member *m = member_new();

    say_blocks(m, PEERS_BLOCKS_MAX);
    cr_assert_eq(cluster_total(m->cluster, 0, "theirs"), PEERS_BLOCKS_MAX);
    member_free(m);
}

Test(traffic, a_message_with_more_blocks_than_are_allowed_is_dropped_whole)
{
    struct member *m = member_new();

    say_blocks(m, PEERS_BLOCKS_MAX + 1);
    cr_assert_eq(cluster_total(m->cluster, 0, "theirs"), 0);
    member_free(m);
}

/* ---- a peer that does not take what it is sent ---- */

/* It says that it holds nothing but, of the stream that the others write, so many blocks. */
static void say_have(struct member *m, uint64_t number)
{
    const struct streams *streams = core_streams(node_core(cluster_node(m->cluster, 0)));
    struct writer w = writer_of(m->payload, sizeof m->payload);
    const struct stream *own = streams_last_own(streams);
    static const struct hash unknown;

    write_bytes(&w, unknown.byte, HASH_BYTES);
    write_u8(&w, false);
    write_u32(&w, number > 0);
    if (number > 0) {
        write_bytes(&w, own->end.position.stream.byte, ID_BYTES);
        write_u64(&w, number);
        write_bytes(
            &w, own->end.position.number == number ? own->end.hash.byte : unknown.byte,
            HASH_BYTES);
    }
    say(m, LINK_HAVE, w.len);
}

Test(traffic, blocks_that_callers_wait_for_say_so)
{
    struct member *m = member_new();
    struct node *node = cluster_node(m->cluster, 0);

    cluster_count(m->cluster, 0, "hits");
    say_have(m, 0);
    cluster_run(m->cluster, 100);
    cr_assert_geq(m->messages, 1);
    cr_assert_eq(m->awaited, 0);
    core_set_copies(node_core(node), 2, 1000);
    cluster_count(m->cluster, 0, "hits");
    cluster_run(m->cluster, 100);
    cr_assert_geq(m->awaited, 1);
    member_free(m);
}

/* Let so many seconds pass, in each of which it says the same. */
static void have_for(struct member *m, unsigned seconds, uint64_t number)
{
    for (unsigned i = 0; i < seconds; i++) {
        say_have(m, number);
        cluster_run(m->cluster, 1000);
    }
}

Test(traffic, a_peer_that_takes_nothing_is_sent_one_block_ever_more_seldom)
{
    struct member *m = member_new();

    say_have(m, 0);
    for (unsigned i = 0; i < 500; i++)
        cluster_count(m->cluster, 0, "hits");
    have_for(m, 120, 0);
    m->messages = m->blocks = 0;
    have_for(m, 320, 0);
    cr_assert_geq(m->messages, 320 * 1000 / (PEERS_RETRY_MAX_MS + 2 * PACE_LOST_MAX_MS));
    cr_assert_leq(m->messages, 320 * 1000 / PEERS_RETRY_MAX_MS);
    cr_assert_eq(m->blocks, m->messages, "one at a time");
    member_free(m);
}

Test(traffic, a_peer_that_takes_blocks_at_last_gets_all_at_once)
{
    struct member *m = member_new();

    say_have(m, 0);
    for (unsigned i = 0; i < 500; i++)
        cluster_count(m->cluster, 0, "hits");
    have_for(m, 120, 0);
    m->blocks = 0;
    say_have(m, 1);
    cluster_run(m->cluster, 50);
    cr_assert_leq(m->blocks, 2 * PEERS_BLOCKS_MAX,
                  "a message or two, after so many losses");
    for (unsigned i = 0; i < 4; i++) {
        say_have(m, 1 + m->blocks);
        cluster_run(m->cluster, 50);
    }
    cr_assert_eq(1 + m->blocks, 500);
    member_free(m);
}

Test(traffic, a_peer_that_comes_again_is_sent_everything_again)
{
    struct member *m = member_new();

    say_have(m, 0);
    for (unsigned i = 0; i < 10; i++)
        cluster_count(m->cluster, 0, "hits");
    have_for(m, 120, 0);
    cluster_run(m->cluster, 2 * PEERS_SILENT_MS);
    m->blocks = 0;
    greet(m);
    say_have(m, 0);
    cluster_run(m->cluster, 100);
    cr_assert_eq(m->blocks, 10);
    member_free(m);
}

/* The fourth node does not trust the first. All that the first two count comes to it by way of the third. */
Test(traffic, a_stream_that_a_peer_refuses_does_not_keep_others_from_it)
{
    struct cluster *c = cluster_new(4, 1);

    cluster_list(c, 3, 0, false);
    for (size_t i = 0; i < 2; i++) {
        cluster_cut(c, i, 3, true);
        cluster_cut(c, 3, i, true);
    }
    for (unsigned i = 0; i < 6 * PEERS_BLOCKS_MAX; i++)
        cluster_count(c, 0, "refused");
    cluster_run(c, 20000);
    cr_assert_eq(cluster_total(c, 2, "refused"), 6 * PEERS_BLOCKS_MAX);
    for (unsigned i = 0; i < 6 * PEERS_BLOCKS_MAX; i++)
        cluster_count(c, 1, "taken");
    cluster_run(c, 10000);
    cr_assert_eq(cluster_total(c, 3, "taken"), 6 * PEERS_BLOCKS_MAX);
    cr_assert_eq(cluster_total(c, 3, "refused"), 0);
    cluster_list(c, 3, 0, true);
    cluster_run(c, PEERS_RETRY_MAX_MS + 10000);
    cr_assert_eq(cluster_total(c, 3, "refused"), 6 * PEERS_BLOCKS_MAX);
    cluster_free(c);
}

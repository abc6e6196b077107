/* tests/unit/test_covered.c: of the blocks of a stream that come together only the last one's signature is looked at, and
 * yet no byte of the others can be changed by anybody but their node. */
#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "replica/core.h"
#include "tests/lib/history.h"

enum { BLOCKS = 4 };
static struct history history; /* of node 2, stream 2 */
static struct core *core;      /* of node 1, which has node 2 for a peer */
static struct crypto counting; /* real, but for: */
static unsigned looked_at;
static uint64_t next_id = 1;

static void no_reply(void *arg, uint64_t ticket, const struct msg_count_rep *rep)
{
    (void)arg, (void)ticket, (void)rep;
}

static bool verify(const uint8_t *signature, const struct hash *hash,
                   const struct public_key *key)
{
    looked_at++;
    return crypto_real.verify(signature, hash, key);
}

static void write_block(struct history *h, struct core *writer)
{
    struct msg_count_req req = history_req(next_id++, "hits", 1);
    struct msg_count_rep rep;

    req.heard = core_position(writer);
    cr_assert_eq(core_count(writer, &req, 1, SIZE_MAX, &rep), CORE_WAITS);
    history_commit(h, writer, 1700000000000, no_reply, NULL);
}

static void write_blocks(struct history *h, uint8_t node)
{
    const struct core_config config = history_config(node, node);
    struct core *writer = core_new(&config);

    for (unsigned i = 0; i < BLOCKS; i++)
        write_block(h, writer);
    core_free(writer);
}

static void set_up(void)
{
    const struct public_key peer = history_key(2).public;
    struct core_config config = history_config(1, 1);

    cr_assert_geq(sodium_init(), 0);
    counting = crypto_real;
    counting.verify = verify;
    config.crypto = &counting;
    core = core_new(&config);
    cr_assert_eq(core_trust(core, &peer, 1), ERR_OK);
    write_blocks(&history, 2);
}

static void tear_down(void)
{
    core_free(core);
    history_free(&history);
}

TestSuite(covered, .init = set_up, .fini = tear_down);

/* Of these blocks of the history, in this order. */
static unsigned covered(const size_t *order, unsigned count)
{
    struct core_record list[BLOCKS];

    for (unsigned i = 0; i < count; i++)
        list[i] = (struct core_record){history.blocks[order[i]].bytes,
                                       history.blocks[order[i]].len};
    return core_covered(core, list, count);
}

static const size_t in_order[] = {0, 1, 2, 3};

static enum core_taken take(size_t i, bool is_covered)
{
    struct core_record record;

    return core_receive(core, history.blocks[i].bytes, history.blocks[i].len, is_covered,
                        &record);
}

Test(covered, a_run_of_blocks_costs_one_look_at_a_signature)
{
    cr_assert_eq(covered(in_order, BLOCKS), BLOCKS);
    cr_expect_eq(looked_at, 1);
    for (size_t i = 0; i < BLOCKS; i++)
        cr_expect_eq(take(i, true), CORE_TAKEN);
    cr_expect_eq(looked_at, 1);
    cr_assert_eq(core_written(core, no_reply, NULL), ERR_OK);
}

Test(covered, a_run_goes_on_from_what_is_held)
{
    static const size_t rest[] = {1, 2, 3};

    cr_assert_eq(take(0, false), CORE_TAKEN);
    cr_expect_eq(covered(rest, 3), 3);
}

Test(covered, what_does_not_follow_is_not_covered)
{
    static const size_t gap[] = {0, 1, 3}, back[] = {1, 0}, twice[] = {0, 0};

    cr_expect_eq(covered(gap, 3), 2);
    cr_assert_eq(take(0, false), CORE_TAKEN);
    cr_expect_eq(covered(back, 2), 0);
    cr_expect_eq(covered(twice, 2), 0);
}

Test(covered, one_block_stands_for_itself)
{
    cr_expect_eq(covered(in_order, 1), 0);
    cr_expect_eq(looked_at, 0);
}

Test(covered, a_wrong_signature_of_the_last_one_covers_nothing)
{
    history.blocks[3].bytes[history.blocks[3].len - 1] ^= 1;
    cr_expect_eq(covered(in_order, BLOCKS), 0);
}

Test(covered, no_bit_of_a_covered_block_can_change_and_its_signature_neither)
{
    for (size_t at = 0; at < history.blocks[1].len; at++) {
        history.blocks[1].bytes[at] ^= 0x04;
        cr_expect_leq(covered(in_order, BLOCKS), 1, "byte %zu", at);
        history.blocks[1].bytes[at] ^= 0x04;
    }
    cr_expect_eq(covered(in_order, BLOCKS), BLOCKS);
}

Test(covered, a_stranger_covers_nothing)
{
    history_free(&history);
    write_blocks(&history, 3);
    cr_expect_eq(covered(in_order, BLOCKS), 0);
    cr_expect_eq(looked_at, 0);
}

Test(covered, nothing_is_covered_whose_beginning_is_not_here)
{
    static const size_t later[] = {1, 2, 3};

    cr_expect_eq(covered(later, 3), 0);
    cr_expect_eq(looked_at, 0);
}

/* The other writer of the stream: block 2 of its own, with a signature that is none, and a good block behind it. */
static void write_other_way(struct history *other)
{
    const struct key_pair key = history_key(2);
    struct block block, next = {.stream = history_id(2), .number = 3};
    uint8_t bytes[BLOCK_FIXED_MAX];
    struct writer w = writer_of(bytes, sizeof bytes);
    struct hash hash;

    block_decode(history.blocks[0].bytes, history.blocks[0].len, &crypto_real, &block);
    block_put_head(&w, &(struct block){
                           .stream = history_id(2), .number = 2, .previous = block.hash});
    block_seal(&w, &crypto_real, &key, &hash);
    w.start[w.len - 1] ^= 1;
    history_add(other, w.start, w.len);
    cr_assert_eq(block_decode(w.start, w.len, &crypto_real, &block), ERR_OK);
    next.previous = block.hash;
    w = writer_of(bytes, sizeof bytes);
    block_put_head(&w, &next);
    block_seal(&w, &crypto_real, &key, &hash);
    history_add(other, w.start, w.len);
}

Test(covered, a_block_that_would_prove_a_fork_has_to_be_signed_itself)
{
    struct history other = {0};

    for (size_t i = 0; i < 2; i++)
        cr_assert_eq(take(i, false), CORE_TAKEN);
    write_other_way(&other);
    for (size_t i = 0; i < 2; i++)
        history_add(&history, other.blocks[i].bytes, other.blocks[i].len);
    cr_assert_eq(covered((const size_t[]){4, 5}, 2), 2);
    cr_expect_eq(take(4, true), CORE_REFUSED);
    cr_expect_eq(take(5, true), CORE_FORKED, "it names another one before it");
    history_free(&other);
}

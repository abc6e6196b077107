/* tests/unit/test_forks.c: two writers of one stream: what proves it, who is convinced, and what it outlives. Node 2 writes
 * stream 2; a resumed snapshot of its memory writes it, too, from the block on that it had not written then. */
#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "replica/forks.h"
#include "replica/streams.h"
#include "tests/lib/history.h"

/* One goes on from the common block in five more, the other one in five other ones. */
enum { COMMON = 1, BLOCKS = 6 };
static struct history one, other;
static struct core *core; /* of node 1 */
static uint64_t next_id = 1;

static void no_reply(void *arg, uint64_t ticket, const struct msg_count_rep *rep)
{
    (void)arg, (void)ticket, (void)rep;
}

static void write_block(struct history *h, struct core *writer)
{
    struct msg_count_req req = history_req(next_id++, "hits", 1);
    struct msg_count_rep rep;

    req.heard = core_position(writer);
    cr_assert_eq(core_count(writer, &req, 1, SIZE_MAX, &rep), CORE_WAITS);
    history_commit(h, writer, 1700000000000, no_reply, NULL);
}

static struct core *reader(void)
{
    const struct core_config config = history_config(1, 1);
    const struct public_key peer = history_key(2).public;
    struct core *made = core_new(&config);

    cr_assert_not_null(made);
    cr_assert_eq(core_trust(made, &peer, 1), ERR_OK);
    return made;
}

/* The writer before it was copied, and after: two cores that hold what is common, and write one stream. */
static void set_up(void)
{
    const struct core_config config = history_config(2, 2);
    struct history common = {0};
    struct core *writer;

    cr_assert_geq(sodium_init(), 0);
    writer = core_new(&config);
    write_block(&one, writer);
    history_add(&other, one.blocks[0].bytes, one.blocks[0].len);
    for (unsigned i = COMMON; i < BLOCKS; i++)
        write_block(&one, writer);
    core_free(writer);
    writer = core_new(&config);
    next_id = 1;
    write_block(&common, writer);
    next_id = 100;
    for (unsigned i = COMMON; i < BLOCKS; i++)
        write_block(&other, writer);
    core_free(writer);
    history_free(&common);
    core = reader();
}

static void tear_down(void)
{
    core_free(core);
    history_free(&one);
    history_free(&other);
}

TestSuite(forks, .init = set_up, .fini = tear_down);

static enum core_taken receive(struct core *to, const struct history *h, size_t i)
{
    struct core_record record;

    return core_receive(to, h->blocks[i].bytes, h->blocks[i].len, false, &record);
}

static void written(struct core *of)
{
    cr_assert_eq(core_written(of, no_reply, NULL), ERR_OK);
}

/* It holds the first n blocks of one way. */
static void hold(struct core *to, const struct history *h, size_t n)
{
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(receive(to, h, i), CORE_TAKEN);
    written(to);
}

static void add(struct fork_proof *proof, const struct history *h, size_t i)
{
    cr_assert_eq(fork_add(proof, &crypto_real, h->blocks[i].bytes, h->blocks[i].len),
                 ERR_OK);
}

static struct fork_proof pair(size_t i, size_t j)
{
    struct fork_proof proof = {0};

    add(&proof, &one, i);
    add(&proof, &other, j);
    return proof;
}

static enum core_taken take(struct core *to, const struct fork_proof *proof)
{
    struct core_record record[2];
    enum core_taken taken = core_take_proof(to, proof->bytes, proof->len, record);

    if (taken == CORE_FORKED)
        written(to);
    return taken;
}

static struct stream *stream(const struct core *of)
{
    const struct id id = history_id(2);

    return streams_find(core_streams(of), &id);
}

Test(forks, blocks_contradict_each_other_in_one_place_or_where_the_next_does_not_go_on)
{
    struct block a, b;

    for (size_t i = 0; i < BLOCKS; i++) {
        for (size_t j = 0; j < BLOCKS; j++) {
            const bool same_way = i < COMMON || j < COMMON;
            const size_t apart = i > j ? i - j : j - i;

            cr_assert_eq(
                block_decode(one.blocks[i].bytes, one.blocks[i].len, &crypto_real, &a),
                ERR_OK);
            cr_assert_eq(block_decode(other.blocks[j].bytes, other.blocks[j].len,
                                      &crypto_real, &b),
                         ERR_OK);
            cr_expect_eq(fork_contradicts(&a, &b), apart <= 1 && !same_way, "%zu %zu", i,
                         j);
        }
    }
    a.stream = history_id(3);
    cr_expect_not(fork_contradicts(&a, &b), "another stream");
}

Test(forks, of_two_halves_that_prove_nothing_together_the_newer_one_stays)
{
    struct fork_proof proof = {0};
    struct fork_half half[2];
    unsigned count;

    add(&proof, &one, 1);
    add(&proof, &other, 4);
    cr_assert_eq(proof.blocks, 1);
    add(&proof, &one, 5);
    cr_assert_eq(proof.blocks, 2);
    add(&proof, &other, 1);
    cr_assert_eq(fork_read(proof.bytes, proof.len, &crypto_real, half, &count), ERR_OK);
    cr_expect_eq(count, 2);
    cr_expect_eq(half[0].block.number, 5);
    cr_expect_eq(half[1].block.number, 6);
    fork_clear(&proof);
}

Test(forks, what_is_no_proof_is_malformed)
{
    struct fork_proof proof = pair(2, 2);
    struct fork_half half[2];
    unsigned count;

    cr_expect_eq(fork_read(proof.bytes, 0, &crypto_real, half, &count), ERR_MALFORMED);
    for (size_t len = 1; len < proof.len; len++)
        if (len != 4 + one.blocks[2].len)
            cr_expect_eq(fork_read(proof.bytes, len, &crypto_real, half, &count),
                         ERR_MALFORMED, "%zu", len);
    memcpy(proof.bytes + 4 + one.blocks[2].len, proof.bytes, 4 + one.blocks[2].len);
    cr_expect_eq(
        fork_read(proof.bytes, 2 * (4 + one.blocks[2].len), &crypto_real, half, &count),
        ERR_MALFORMED, "twice the same");
    fork_clear(&proof);
}

Test(forks, a_proof_convinces_whatever_is_held_once_no_more_comes_in)
{
    struct fork_proof proof = pair(1, 1);

    cr_expect_eq(take(core, &proof), CORE_GAP, "nothing is held");
    hold(core, &one, 4);
    cr_expect_eq(take(core, &proof), CORE_GAP, "more may come in");
    cr_assert_eq(receive(core, &one, 4), CORE_TAKEN, "and goes on from what is held");
    written(core);
    cr_expect_eq(take(core, &proof), CORE_GAP);
    cr_expect_not(core_is_frozen(core, &stream(core)->end.position.stream));
    cr_expect_eq(take(core, &proof), CORE_FORKED);
    cr_expect(core_is_frozen(core, &stream(core)->end.position.stream));
    cr_expect_eq(stream(core)->proof.blocks, 2);
    cr_expect_eq(receive(core, &one, 5), CORE_FROZEN);
    cr_expect_eq(take(core, &proof), CORE_FROZEN, "it is known");
    fork_clear(&proof);
}

Test(forks, a_proof_with_a_wrong_signature_convinces_nobody)
{
    struct fork_proof proof = pair(1, 1);

    hold(core, &one, 4);
    proof.bytes[proof.len - 1] ^= 1;
    cr_expect_eq(take(core, &proof), CORE_REFUSED);
    cr_expect_eq(take(core, &proof), CORE_REFUSED);
    fork_clear(&proof);
}

/* What it remembers of itself, in another core. */
static struct core *restarted(struct core *of)
{
    size_t max = core_encoded_max(of);
    uint8_t *bytes = malloc(max);
    struct writer w = writer_of(bytes, max);
    struct core *made = reader();
    struct reader r;

    core_encode_state(of, &w);
    core_encode_own(of, &w);
    cr_assert_not(w.full);
    r = reader_of(bytes, w.len);
    cr_assert_eq(core_decode_state(made, &r), ERR_OK);
    cr_assert_eq(core_decode_own(made, &r), ERR_OK);
    cr_assert(reader_done(&r));
    free(bytes);
    return made;
}

Test(forks, the_proof_outlives_the_log)
{
    struct core *later;

    hold(core, &one, 3);
    cr_assert_eq(receive(core, &other, 3), CORE_FORKED);
    written(core);
    cr_assert_eq(stream(core)->proof.blocks, 1);
    cr_expect(core_lacks_proof(core));
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(core_find_proof(core, one.blocks[i].bytes, one.blocks[i].len),
                     ERR_OK);
    cr_expect_not(core_lacks_proof(core), "the log has what was held");
    later = restarted(core);
    cr_expect(stream(later)->frozen);
    cr_assert_eq(stream(later)->proof.len, stream(core)->proof.len);
    cr_expect_arr_eq(stream(later)->proof.bytes, stream(core)->proof.bytes,
                     stream(core)->proof.len);
    core_free(later);
}

Test(forks, a_doubt_outlives_a_restart_and_ends_with_a_block_that_goes_on)
{
    const struct id id = history_id(1);
    const struct core_config config = history_config(2, 2);
    struct core *writer = core_new(&config), *later;
    struct history own = {0};

    next_id = 1;
    write_block(&own, writer);
    core_heard_lost(writer, &id, false);
    cr_expect_not(core_stream_doubted(writer), "another stream");
    core_heard_lost(writer, &config.stream, false);
    cr_expect(core_stream_doubted(writer));
    cr_expect(core_stream_lost(writer));
    later = restarted(writer);
    cr_expect(stream(later)->doubted);
    cr_assert_eq(receive(later, &one, 1), CORE_TAKEN);
    written(later);
    cr_expect_not(stream(later)->doubted);
    core_free(later);
    core_free(writer);
    history_free(&own);
}

Test(forks, what_a_peer_has_said_to_hold_just_so_is_not_in_doubt_until_more_is_written)
{
    const struct core_config config = history_config(2, 2);
    struct core *writer = core_new(&config);
    struct history own = {0};
    struct stream_end theirs;

    next_id = 1;
    write_block(&own, writer);
    theirs = stream(writer)->end;
    cr_expect_not(core_heard(writer, &theirs));
    core_heard_lost(writer, &config.stream, false);
    cr_expect(core_stream_lost(writer));
    cr_expect_not(core_stream_doubted(writer));
    write_block(&own, writer);
    core_heard_lost(writer, &config.stream, false);
    cr_expect(core_stream_doubted(writer));
    core_free(writer);
    history_free(&own);
}

Test(forks, what_a_peer_holds_otherwise_is_in_doubt_whoever_has_it_too)
{
    const struct core_config config = history_config(2, 2);
    struct core *writer = core_new(&config);
    struct history own = {0};
    struct stream_end theirs;

    next_id = 1;
    write_block(&own, writer);
    theirs = stream(writer)->end;
    cr_expect_not(core_heard(writer, &theirs));
    theirs.hash.byte[0] ^= 1;
    cr_expect(core_heard(writer, &theirs));
    core_heard_lost(writer, &config.stream, true);
    cr_expect(core_stream_doubted(writer));
    core_free(writer);
    history_free(&own);
}

/* Goes over from what `core` holds to the state of a node that holds the first n blocks of one way. */
static enum err adopt(const struct history *h, size_t n)
{
    struct core *peer = reader(), *made = reader();
    size_t max;
    uint8_t *bytes;
    struct writer w;
    struct reader r;
    enum err err;

    hold(peer, h, n);
    max = core_encoded_max(peer);
    bytes = malloc(max);
    w = writer_of(bytes, max);
    core_encode_state(peer, &w);
    r = reader_of(bytes, w.len);
    cr_assert_eq(core_adopt(made, core, &r), ERR_OK);
    err = core_adopt_own(made, core);
    free(bytes);
    core_free(made);
    core_free(peer);
    return err;
}

Test(forks, of_a_stream_that_forks_a_checkpoint_takes_the_place_of_nothing)
{
    struct fork_proof proof = pair(1, 1);

    hold(core, &one, 3);
    cr_expect_eq(adopt(&one, 5), ERR_OK, "nothing is known yet");
    cr_expect_eq(adopt(&other, 5), ERR_OK, "likewise: ends do not tell");
    cr_expect_eq(adopt(&other, 3), ERR_CORRUPT, "but one in the same place does");
    cr_assert_eq(take(core, &proof), CORE_GAP);
    cr_expect_eq(adopt(&other, 5), ERR_CORRUPT, "it is told, and not frozen yet");
    cr_assert_eq(take(core, &proof), CORE_FORKED);
    cr_expect_eq(adopt(&other, 5), ERR_CORRUPT);
    cr_expect_eq(adopt(&one, 5), ERR_CORRUPT, "its end does not tell which way it came");
    cr_expect_eq(adopt(&one, 3), ERR_EXISTS, "the same end is no other content");
    fork_clear(&proof);
}

/* Both go on from the common block, which is all that is held. */
Test(forks, a_checkpoint_may_take_the_place_of_what_both_ways_of_a_fork_go_on_from)
{
    struct fork_proof proof = pair(1, 1);

    hold(core, &one, 1);
    cr_assert_eq(take(core, &proof), CORE_GAP);
    cr_expect_eq(adopt(&other, 5), ERR_CORRUPT, "it is told, and more may come in");
    cr_assert_eq(take(core, &proof), CORE_FORKED);
    cr_expect_eq(adopt(&one, 5), ERR_OK);
    cr_expect_eq(adopt(&other, 5), ERR_OK);
    fork_clear(&proof);
}

Test(forks, what_is_in_doubt_no_checkpoint_takes_the_place_of)
{
    hold(core, &one, 3);
    stream(core)->doubted = true;
    cr_expect_eq(adopt(&one, 5), ERR_AGAIN);
    cr_expect_eq(adopt(&one, 3), ERR_EXISTS);
}

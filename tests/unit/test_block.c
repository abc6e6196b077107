/* tests/unit/test_block.c: a block's bytes: one encoding for each block, and golden files
 * of format 1. */
#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "replica/block.h"
#include "tests/lib/golden.h"
#include "tests/lib/history.h"

static uint8_t bytes[2 * BLOCK_MAX];
static struct key_pair key;

static void set_up(void)
{
    cr_assert_geq(sodium_init(), 0);
    key = history_key(1);
}

TestSuite(block, .init = set_up);

/* ---- golden files ---- */

/* What history_golden() put into this block of its, read from the golden file of a format. */
static uint8_t *golden_block(unsigned format, const char *which, struct block *block)
{
    char name[64];
    size_t len;
    uint8_t *golden;

    snprintf(name, sizeof name, "block-%u-%s", format, which);
    golden = golden_read(TESTS_DIR, name, &len);
    cr_assert_eq(block_decode(golden, len, &crypto_real, block), ERR_OK);
    cr_expect_eq(block->format, format);
    cr_expect(block_signed(block, &crypto_real, &key.public));
    return golden;
}

static void expect_op(struct block_cursor *cursor, uint64_t id, const char *name,
                      int64_t before, int64_t value, const char *tag)
{
    struct id expected = history_id(id);
    struct op op;

    cr_assert(block_next_op(cursor, &op));
    cr_expect_eq(op.component, 1);
    cr_expect_eq(op.kind, OP_ADD);
    cr_expect(id_equal(&op.id, &expected));
    cr_expect_eq(op.key_len, strlen(name));
    cr_expect_arr_eq(op.key, name, op.key_len);
    cr_expect_eq(op.before, before);
    cr_expect_eq(op.value, value);
    cr_expect_eq(op.text_len, strlen(tag));
    cr_expect_arr_eq(op.text, tag, op.text_len);
}

static void expect_first(unsigned format)
{
    const struct id cluster = history_id(1000), stream = history_id(1);
    const struct hash zero = {{0}};
    struct block_cursor cursor;
    struct block block;
    struct op op;
    uint8_t *golden = golden_block(format, "first", &block);

    cr_expect(id_equal(&block.stream, &stream));
    cr_expect_eq(block.number, 1);
    cr_expect(hash_equal(&block.previous, &zero));
    cr_expect_eq(block.stamp_ms, 1700000000123);
    cr_expect(id_equal(&block.origin.cluster, &cluster));
    cr_expect_arr_eq(block.origin.key.byte, key.public.byte, PUBLIC_KEY_BYTES);
    cr_expect_eq(block.origin.name_len, 6);
    cr_expect_arr_eq(block.origin.name, "node-1", 6);
    cr_expect_eq(block.origin.before.position.number, 0);
    cr_expect_eq(block.groups, 2);
    cursor = block_ops(&block);
    expect_op(&cursor, 0x11, "hits", 0, 1, "");
    expect_op(&cursor, 0x13, "hits", 1, 1, "vip");
    expect_op(&cursor, 0x12, "votes-7.a_b", 0, 5, "J\xc3\xb6rg \"x\"");
    cr_expect_not(block_next_op(&cursor, &op));
    free(golden);
}

Test(block, the_first_block_of_a_stream_of_each_format_is_read)
{
    expect_first(1);
    expect_first(2);
}

static void expect_later(unsigned format)
{
    struct block_cursor cursor;
    struct block block, first;
    uint8_t *golden_first = golden_block(format, "first", &first),
            *golden = golden_block(format, "next", &block);
    struct op op;

    cr_expect(id_equal(&block.stream, &first.stream));
    cr_expect_eq(block.number, 2);
    cr_expect(hash_equal(&block.previous, &first.hash));
    cr_expect_eq(block_covered(&first, &block), format > 1,
                 "what the next one names is over the signature from format 2 on");
    cr_expect_eq(block.stamp_ms, 1700000001000);
    cursor = block_ops(&block);
    expect_op(&cursor, 0x14, "votes-7.a_b", 5, INT32_MIN, "");
    expect_op(&cursor, 0x15, "hits", 2, INT32_MAX, "");
    cr_expect_not(block_next_op(&cursor, &op));
    free(golden_first);
    free(golden);
}

Test(block, a_later_block_of_each_format_is_read)
{
    expect_later(1);
    expect_later(2);
}

static void expect_second_stream(unsigned format)
{
    const struct id stream = history_id(1);
    struct block block, before;
    uint8_t *golden_before = golden_block(format, "next", &before),
            *golden = golden_block(format, "second-stream", &block);

    cr_expect_eq(block.number, 1);
    cr_expect(id_equal(&block.origin.before.position.stream, &stream));
    cr_expect_eq(block.origin.before.position.number, 2);
    cr_expect(hash_equal(&block.origin.before.hash, &before.hash));
    free(golden_before);
    free(golden);
}

Test(block, a_stream_that_follows_another_names_its_end_in_each_format)
{
    expect_second_stream(1);
    expect_second_stream(2);
}

Test(block, the_same_counts_make_the_same_bytes_as_ever)
{
    static const char *const names[] = {"block-2-first", "block-2-next",
                                        "block-2-second-stream"};
    struct history h = {0};

    cr_assert_eq(BLOCK_FORMAT, 2, "a new format needs new golden files, beside these");
    history_golden(&h, NULL);
    cr_assert_eq(h.count, 3);
    for (size_t i = 0; i < 3; i++)
        cr_expect_eq(
            golden_differs(TESTS_DIR, names[i], h.blocks[i].bytes, h.blocks[i].len), -1,
            "%s", names[i]);
    history_free(&h);
}

/* ---- one encoding, and nothing else ---- */

static struct writer head(uint64_t number, uint64_t groups)
{
    struct block block = {
        .stream = history_id(1), .number = number, .stamp_ms = 1, .groups = groups};
    struct writer w = writer_of(bytes, sizeof bytes);

    block_put_head(&w, &block);
    return w;
}

static enum err decode(struct writer *w, struct block *block)
{
    struct hash hash;
    enum err err;

    block_seal(w, &crypto_real, &key, &hash);
    err = block_decode(w->start, w->len, &crypto_real, block);
    cr_expect(err != ERR_OK || hash_equal(&hash, &block->hash));
    return err;
}

static enum err decode_only(struct writer w)
{
    struct block block;

    return decode(&w, &block);
}

/* A block with one op. */
static enum err decode_op(uint8_t component, const char *name, uint8_t name_len,
                          uint8_t kind, int64_t value, const char *tag, uint8_t tag_len)
{
    const struct id id = history_id(5);
    struct writer w = head(2, 1);

    block_put_group(&w, component, name, name_len, 0, 1);
    block_put_op(&w, kind, &id, value, tag, tag_len);
    return decode_only(w);
}

Test(block, a_block_cut_or_continued_anywhere_is_malformed)
{
    static const char *const names[] = {"block-2-first", "block-2-next"};

    for (size_t i = 0; i < 2; i++) {
        struct block block;
        size_t len;
        uint8_t *golden = golden_read(TESTS_DIR, names[i], &len);

        for (size_t cut = 0; cut < len; cut++)
            cr_expect_eq(block_decode(golden, cut, &crypto_real, &block), ERR_MALFORMED,
                         "%zu", cut);
        golden[len] = 0;
        cr_expect_eq(block_decode(golden, len + 1, &crypto_real, &block), ERR_MALFORMED);
        free(golden);
    }
}

Test(block, no_bit_can_change_without_the_hash_or_the_signature_telling)
{
    struct block block;
    size_t len;
    uint8_t *golden = golden_read(TESTS_DIR, "block-2-first", &len);

    for (size_t at = 0; at < len; at++) {
        golden[at] ^= 0x04;
        cr_expect(block_decode(golden, len, &crypto_real, &block) != ERR_OK ||
                      !block_signed(&block, &crypto_real, &key.public),
                  "byte %zu", at);
        golden[at] ^= 0x04;
    }
    free(golden);
}

Test(block, another_format_is_newer_or_none)
{
    struct block block;
    size_t len;
    uint8_t *golden = golden_read(TESTS_DIR, "block-2-first", &len);

    golden[0] = BLOCK_FORMAT + 1;
    cr_expect_eq(block_decode(golden, len, &crypto_real, &block), ERR_VERSION);
    golden[0] = 0;
    cr_expect_eq(block_decode(golden, len, &crypto_real, &block), ERR_MALFORMED);
    free(golden);
}

Test(block, what_only_a_newer_version_knows_is_told_from_what_is_wrong)
{
    cr_expect_eq(decode_op(1, "a", 1, OP_ADD, 1, "", 0), ERR_OK);
    cr_expect_eq(decode_op(2, "a", 1, OP_ADD, 1, "", 0), ERR_VERSION, "a component");
    cr_expect_eq(decode_op(1, "a", 1, OP_SHOW + 1, 1, "", 0), ERR_VERSION,
                 "an operation");
    for (uint8_t kind = OP_RETIRE; kind <= OP_SHOW; kind++) {
        cr_expect_eq(decode_op(1, "a", 1, kind, 1, "why", 3), ERR_OK);
        cr_expect_eq(decode_op(1, "a", 1, kind, 0, "", 0), ERR_MALFORMED);
        cr_expect_eq(decode_op(1, "a", 1, kind, (INT64_C(1) << 31) + 1, "", 0),
                     ERR_MALFORMED);
    }
    cr_expect_eq(decode_op(1, "a b", 3, OP_ADD, 1, "", 0), ERR_MALFORMED);
    cr_expect_eq(decode_op(1, "", 0, OP_ADD, 1, "", 0), ERR_MALFORMED);
    cr_expect_eq(decode_op(1, "a", 1, OP_ADD, 1, "\n", 1), ERR_MALFORMED);
    cr_expect_eq(decode_op(1, "a", 1, OP_ADD, INT64_C(1) << 31, "", 0), ERR_OK);
    cr_expect_eq(decode_op(1, "a", 1, OP_ADD, (INT64_C(1) << 31) + 1, "", 0),
                 ERR_MALFORMED);
    cr_expect_eq(decode_op(1, "a", 1, OP_ADD, -(INT64_C(1) << 31), "", 0), ERR_OK);
    cr_expect_eq(decode_op(1, "a", 1, OP_ADD, -(INT64_C(1) << 31) - 1, "", 0),
                 ERR_MALFORMED);
}

Test(block, names_and_tags_above_their_limits_are_malformed)
{
    char long_text[65];

    memset(long_text, 'a', sizeof long_text);
    cr_expect_eq(decode_op(1, long_text, 64, OP_ADD, 1, long_text, 64), ERR_OK);
    cr_expect_eq(decode_op(1, long_text, 65, OP_ADD, 1, "", 0), ERR_MALFORMED);
    cr_expect_eq(decode_op(1, "a", 1, OP_ADD, 1, long_text, 65), ERR_MALFORMED);
}

Test(block, an_empty_group_is_malformed)
{
    struct writer w = head(2, 1);

    block_put_group(&w, 1, "a", 1, 0, 0);
    cr_expect_eq(decode_only(w), ERR_MALFORMED);
}

Test(block, more_or_fewer_groups_or_ops_than_it_says_are_malformed)
{
    const struct id id = history_id(5);

    for (uint64_t groups = 0; groups <= 2; groups++) {
        for (uint64_t ops = 1; ops <= 3; ops++) {
            struct writer w = head(2, groups);

            block_put_group(&w, 1, "a", 1, 0, ops);
            block_put_op(&w, OP_ADD, &id, 1, "", 0);
            block_put_op(&w, OP_ADD, &id, 1, "", 0);
            cr_expect_eq(decode_only(w), groups == 1 && ops == 2 ? ERR_OK : ERR_MALFORMED,
                         "%d groups, %d ops", (int)groups, (int)ops);
        }
    }
}

Test(block, numbers_that_are_longer_than_they_need_be_are_malformed)
{
    struct writer w = head(2, 0);

    /* The varint of 0 groups, which is the last byte so far, in two bytes. */
    cr_assert_eq(bytes[w.len - 1], 0);
    bytes[w.len - 1] = 0x80;
    write_u8(&w, 0);
    cr_expect_eq(decode_only(w), ERR_MALFORMED);
}

Test(block, block_number_0_is_malformed)
{
    struct writer w = head(2, 0);

    bytes[1 + ID_BYTES] = 0;
    cr_expect_eq(decode_only(w), ERR_MALFORMED);
}

/* It would contradict a stream of which nothing is held, and be kept as proof of a fork without its other half. */
Test(block, a_first_block_that_follows_another_is_malformed)
{
    struct writer w = head(1, 0);

    cr_expect_eq(decode_only(w), ERR_OK);
    w = head(1, 0);
    bytes[1 + ID_BYTES + 1] = 1;
    cr_expect_eq(decode_only(w), ERR_MALFORMED);
}

Test(block, a_node_s_name_above_its_limit_is_malformed)
{
    const size_t name_len =
        1 + ID_BYTES + 1 + HASH_BYTES + 1 + ID_BYTES + PUBLIC_KEY_BYTES;

    for (uint8_t len = 31; len <= 33; len++) {
        struct block block = {.number = 1, .stamp_ms = 1};
        struct writer w = writer_of(bytes, sizeof bytes);

        block.origin.name_len = len < 32 ? len : 32;
        memset(block.origin.name, 'n', sizeof block.origin.name);
        block_put_head(&w, &block);
        cr_assert_eq(bytes[name_len], block.origin.name_len);
        if (len == 33) {
            memmove(bytes + name_len + 34, bytes + name_len + 33, w.len - name_len - 33);
            bytes[name_len]++;
            w.len++;
        }
        cr_expect_eq(decode_only(w), len <= 32 ? ERR_OK : ERR_MALFORMED);
    }
}

Test(block, a_block_above_its_limit_is_too_long)
{
    struct block block;

    memset(bytes, 0, sizeof bytes);
    bytes[0] = BLOCK_FORMAT;
    cr_expect_eq(block_decode(bytes, BLOCK_MAX + 1, &crypto_real, &block), ERR_TOO_LONG);
    cr_expect_eq(block_decode(bytes, BLOCK_MAX, &crypto_real, &block), ERR_MALFORMED);
}

/* The base is the total before the first op only; those between follow from the ops. */
Test(block, the_total_before_each_op_is_counted_on_from_its_group_s_base)
{
    const struct id id = history_id(5);
    const int64_t before[] = {100, 107, 104, INT64_MAX, INT64_MIN};
    struct block_cursor cursor;
    struct writer w = head(2, 2);
    struct block block;
    struct op op;

    block_put_group(&w, 1, "a", 1, 100, 3);
    block_put_op(&w, OP_ADD, &id, 7, "", 0);
    block_put_op(&w, OP_ADD, &id, -3, "", 0);
    block_put_op(&w, OP_ADD, &id, 1, "", 0);
    block_put_group(&w, 1, "b", 1, INT64_MAX, 2);
    block_put_op(&w, OP_ADD, &id, 1, "", 0);
    block_put_op(&w, OP_ADD, &id, 1, "", 0);
    cr_assert_eq(decode(&w, &block), ERR_OK);
    cursor = block_ops(&block);
    for (size_t i = 0; i < 5; i++) {
        cr_assert(block_next_op(&cursor, &op));
        cr_expect_eq(op.before, before[i], "%zu", i);
    }
    cr_expect_not(block_next_op(&cursor, &op));
}

/* The core reckons with them, to know that a block fits before it is made. */
Test(block, nothing_takes_more_than_its_maximum)
{
    struct block block = {.number = UINT64_MAX, .stamp_ms = UINT64_MAX, .groups = 1};
    struct block first = {.number = 1, .stamp_ms = UINT64_MAX, .groups = UINT64_MAX};
    const struct id id = history_id(5);
    char text[64] = "";
    struct hash hash;
    struct writer w = writer_of(bytes, sizeof bytes);

    block_put_head(&w, &block);
    block_seal(&w, &crypto_real, &key, &hash);
    cr_expect_leq(w.len, BLOCK_FIXED_MAX);
    w = writer_of(bytes, sizeof bytes);
    first.origin.name_len = NODE_NAME_MAX;
    first.origin.before.position.number = UINT64_MAX;
    block_put_head(&w, &first);
    block_seal(&w, &crypto_real, &key, &hash);
    cr_expect_leq(w.len, BLOCK_FIXED_MAX);
    w = writer_of(bytes, sizeof bytes);
    block_put_group(&w, 255, text, NAME_MAX_BYTES, INT64_MIN, UINT64_MAX);
    cr_expect_eq(w.len, BLOCK_GROUP_MAX);
    w = writer_of(bytes, sizeof bytes);
    block_put_op(&w, 255, &id, INT64_MIN, text, TAG_MAX_BYTES);
    cr_expect_eq(w.len, BLOCK_OP_MAX);
}

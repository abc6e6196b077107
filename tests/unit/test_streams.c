/* tests/unit/test_streams.c: the table of streams, and its one encoding. */
#include <criterion/criterion.h>
#include <sodium.h>
#include <string.h>

#include "replica/streams.h"
#include "tests/lib/history.h"

static uint8_t bytes[64 * 1024];
static struct streams streams, other;

static void set_up(void)
{
    cr_assert_geq(sodium_init(), 0);
}

static void tear_down(void)
{
    streams_clear(&streams);
    streams_clear(&other);
}

TestSuite(streams, .init = set_up, .fini = tear_down);

static struct stream_end end_of(uint64_t id)
{
    return (struct stream_end){.position = {history_id(id), 10 * id},
                               .hash = {.byte = {(uint8_t)id}}};
}

/* The id-th of one node, the one before it being id - 1. */
static struct stream *add(struct streams *s, uint64_t id, bool own)
{
    const struct id stream_id = history_id(id);
    struct block_origin origin = {.key = history_key((uint8_t)id).public,
                                  .name_len = 6,
                                  .name = "node-7",
                                  .provisional = id % 3 == 0};
    struct stream *stream;

    if (id > 1)
        origin.before = end_of(id - 1);
    stream = streams_add(s, &stream_id, &origin, own);
    cr_assert_not_null(stream);
    cr_expect_eq(stream->end.position.number, 0);
    stream->end.position.number = 10 * id;
    stream->end.hash.byte[0] = (uint8_t)id;
    return stream;
}

static struct stream *find(const struct streams *s, uint64_t id)
{
    const struct id stream_id = history_id(id);

    return streams_find(s, &stream_id);
}

static size_t encode(struct streams *s)
{
    struct writer w = writer_of(bytes, sizeof bytes);

    streams_encode(s, &w);
    cr_assert_not(w.full);
    cr_assert_leq(w.len, streams_encoded_max(s));
    return w.len;
}

/* Once that one has a block, too. */
static size_t encode_with_blocks(struct streams *s, const struct id *id)
{
    streams_find(s, id)->end.position.number = 1;
    return encode(s);
}

static enum err decode(struct streams *s, size_t len)
{
    struct reader r = reader_of(bytes, len);
    enum err err = streams_decode(s, &r);

    return err == ERR_OK && !reader_done(&r) ? ERR_MALFORMED : err;
}

Test(streams, what_was_added_is_found_by_its_id_and_nothing_else_is)
{
    cr_expect_null(find(&streams, 1));
    for (uint64_t i = 1; i <= 1000; i++)
        add(&streams, i, false);
    for (uint64_t i = 1; i <= 1000; i++)
        cr_assert_eq(find(&streams, i)->end.position.number, 10 * i);
    cr_expect_null(find(&streams, 1001));
    cr_expect_eq(streams.count, 1000);
}

Test(streams, this_node_s_own_are_counted_from_1_in_the_order_in_which_they_began)
{
    cr_expect_null(streams_last_own(&streams));
    for (uint64_t i = 1; i <= 40; i++) {
        struct stream *stream = add(&streams, 100 - i, i % 2 == 0);

        cr_expect_eq(stream->own, i % 2 == 0 ? i / 2 : 0);
        if (i % 2 == 0)
            cr_expect_eq(streams_last_own(&streams), stream);
    }
    cr_expect_eq(streams.own_count, 20);
}

Test(streams, equal_tables_have_equal_bytes_in_whatever_order_they_grew)
{
    static uint8_t first[sizeof bytes];
    size_t len, first_len;

    for (uint64_t i = 1; i <= 100; i++)
        add(&streams, i, i % 3 == 0);
    first_len = encode(&streams);
    memcpy(first, bytes, first_len);
    for (uint64_t i = 1; i <= 100; i++)
        add(&other, i * 37 % 101, false);
    len = encode(&other);
    cr_expect_eq(len, first_len);
    cr_expect_arr_eq(bytes, first, len);
}

Test(streams, what_was_encoded_is_decoded_their_own_order_included)
{
    struct writer w;
    struct reader r;
    size_t len;

    for (uint64_t i = 1; i <= 50; i++)
        add(&streams, 51 - i, i % 2 == 0);
    len = encode(&streams);
    cr_assert_eq(decode(&other, len), ERR_OK);
    cr_expect_eq(other.count, 50);
    for (uint64_t i = 1; i <= 50; i++) {
        const struct stream *stream = find(&other, i);

        cr_assert_not_null(stream);
        cr_expect_eq(stream->end.position.number, 10 * i);
        cr_expect_eq(stream->end.hash.byte[0], i);
        cr_expect_arr_eq(stream->key.byte, history_key((uint8_t)i).public.byte,
                         PUBLIC_KEY_BYTES);
        cr_expect_eq(stream->name_len, 6);
        cr_expect_arr_eq(stream->name, "node-7", 6);
        cr_expect_eq(stream->before.position.number, 10 * (i - 1));
        cr_expect_eq(stream->provisional, i % 3 == 0);
        cr_expect_eq(stream_is_named(stream), i < 50, "%d", (int)i);
    }
    cr_expect(other.provisional);
    w = writer_of(bytes, sizeof bytes);
    streams_encode_own(&streams, &w);
    r = reader_of(bytes, w.len);
    cr_assert_eq(streams_decode_own(&other, &r), ERR_OK);
    cr_assert_eq(other.own_count, 25);
    for (size_t i = 0; i < 25; i++) {
        cr_expect(id_equal(&other.own[i]->end.position.stream,
                           &streams.own[i]->end.position.stream));
        cr_expect_eq(other.own[i]->own, i + 1);
    }
}

Test(streams, an_encoding_cut_anywhere_is_malformed)
{
    size_t len;

    for (uint64_t i = 1; i <= 3; i++)
        add(&streams, i, false);
    len = encode(&streams);
    for (size_t cut = 0; cut < len; cut++) {
        cr_expect_eq(decode(&other, cut), ERR_MALFORMED, "%zu", cut);
        streams_clear(&other);
    }
    cr_expect_eq(decode(&other, len + 1), ERR_MALFORMED);
}

Test(streams, a_stream_is_named_by_the_one_after_it_where_it_ends_as_that_one_says)
{
    struct stream *second = add(&streams, 2, false), *first = add(&streams, 1, false);

    cr_expect(stream_is_named(first), "in whatever order they came");
    cr_expect_not(stream_is_named(second));
    first->end.position.number++;
    cr_expect_not(stream_is_named(first), "longer");
    first->end.position.number--;
    first->end.hash.byte[0]++;
    cr_expect_not(stream_is_named(first), "another block");
    first->end.hash.byte[0]--;
    second->end.position.number = 0;
    cr_expect_not(stream_is_named(first), "the one after it is not durable");
}

Test(streams, a_stream_that_two_name_is_not_told_of_by_either)
{
    const struct id copy = history_id(77);
    const struct block_origin origin = {.before = end_of(1)};
    struct stream *first = add(&streams, 1, false);

    add(&streams, 2, false);
    cr_assert_not_null(streams_add(&streams, &copy, &origin, false));
    cr_expect_not(stream_is_named(first));
    cr_assert_eq(decode(&other, encode_with_blocks(&streams, &copy)), ERR_OK);
    cr_expect_not(stream_is_named(find(&other, 1)));
}

enum {
    END = ID_BYTES + 1 + HASH_BYTES,
    ENTRY = END + PUBLIC_KEY_BYTES + 1 + 6 + END + 1,
    NAME_AT = END + PUBLIC_KEY_BYTES, /* its length */
};

Test(streams, streams_that_are_not_in_the_order_of_their_ids_are_malformed)
{
    uint8_t entry[ENTRY];
    size_t len;

    add(&streams, 1, false);
    add(&streams, 2, false);
    len = encode(&streams);
    cr_assert_eq(len, 1 + 2 * ENTRY);
    memcpy(entry, bytes + 1, ENTRY);
    memmove(bytes + 1, bytes + 1 + ENTRY, ENTRY);
    memcpy(bytes + 1 + ENTRY, entry, ENTRY);
    cr_expect_eq(decode(&other, len), ERR_MALFORMED, "swapped");
    streams_clear(&other);
    memcpy(bytes + 1, entry, ENTRY);
    cr_expect_eq(decode(&other, len), ERR_MALFORMED, "twice the same");
}

Test(streams, a_stream_without_a_block_or_with_a_name_too_long_is_malformed)
{
    size_t len;

    add(&streams, 1, false);
    len = encode(&streams);
    bytes[1 + ID_BYTES] = 0;
    cr_expect_eq(decode(&other, len), ERR_MALFORMED);
    streams_clear(&other);
    encode(&streams);
    memmove(bytes + 1 + NAME_AT + 1 + 32, bytes + 1 + NAME_AT + 1 + 6, END + 1);
    memset(bytes + 1 + NAME_AT + 1, 'n', 32);
    bytes[1 + NAME_AT] = 32;
    cr_expect_eq(decode(&other, len - 6 + 32), ERR_OK);
    streams_clear(&other);
    bytes[1 + NAME_AT] = 33;
    cr_expect_eq(decode(&other, len - 6 + 33), ERR_MALFORMED);
}

Test(streams, own_streams_that_are_unknown_or_named_twice_are_malformed)
{
    const struct id first = history_id(1), unknown = history_id(3);
    struct writer w = writer_of(bytes, sizeof bytes);
    struct reader r;

    add(&streams, 1, false);
    write_varint(&w, 1);
    write_bytes(&w, unknown.byte, ID_BYTES);
    r = reader_of(bytes, w.len);
    cr_expect_eq(streams_decode_own(&streams, &r), ERR_MALFORMED);
    w = writer_of(bytes, sizeof bytes);
    write_varint(&w, 2);
    write_bytes(&w, first.byte, ID_BYTES);
    write_bytes(&w, first.byte, ID_BYTES);
    r = reader_of(bytes, w.len);
    cr_expect_eq(streams_decode_own(&streams, &r), ERR_MALFORMED);
    r = reader_of(bytes, 5);
    cr_expect_eq(streams_decode_own(&streams, &r), ERR_MALFORMED);
}

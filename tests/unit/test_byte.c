/* tests/unit/test_byte.c: reading and writing bytes within bounds. */
#include <criterion/criterion.h>
#include <string.h>

#include "common/byte.h"

static const struct {
    uint64_t value;
    uint8_t bytes[10];
    size_t len;
} varints[] = {
    {0, {0x00}, 1},
    {1, {0x01}, 1},
    {127, {0x7f}, 1},
    {128, {0x80, 0x01}, 2},
    {300, {0xac, 0x02}, 2},
    {16383, {0xff, 0x7f}, 2},
    {16384, {0x80, 0x80, 0x01}, 3},
    {UINT32_MAX, {0xff, 0xff, 0xff, 0xff, 0x0f}, 5},
    {UINT64_C(1) << 63, {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, 10},
    {UINT64_MAX, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 10},
};
enum { VARINTS = sizeof varints / sizeof varints[0] };

static uint64_t read_one(const void *bytes, size_t len, bool *good)
{
    struct reader r = reader_of(bytes, len);
    uint64_t v = read_varint(&r);

    *good = reader_done(&r);
    return v;
}

Test(byte, integers_are_little_endian)
{
    static const uint8_t bytes[] = {1, 3, 2, 7, 6, 5, 4, 15, 14, 13, 12, 11, 10, 9, 8};
    uint8_t buf[sizeof bytes];
    struct writer w = writer_of(buf, sizeof buf);
    struct reader r = reader_of(bytes, sizeof bytes);

    write_u8(&w, 0x01);
    write_u16(&w, 0x0203);
    write_u32(&w, 0x04050607);
    write_u64(&w, 0x08090a0b0c0d0e0f);
    cr_expect_not(w.full);
    cr_expect_eq(w.len, sizeof bytes);
    cr_expect_arr_eq(buf, bytes, sizeof bytes);
    cr_expect_eq(read_u8(&r), 0x01);
    cr_expect_eq(read_u16(&r), 0x0203);
    cr_expect_eq(read_u32(&r), 0x04050607);
    cr_expect_eq(read_u64(&r), 0x08090a0b0c0d0e0f);
    cr_expect(reader_done(&r));
}

Test(byte, a_varint_has_one_encoding_which_is_the_shortest)
{
    for (size_t i = 0; i < VARINTS; i++) {
        uint8_t buf[16];
        struct writer w = writer_of(buf, sizeof buf);
        bool good;

        write_varint(&w, varints[i].value);
        cr_expect_eq(w.len, varints[i].len);
        cr_expect_eq(varint_size(varints[i].value), varints[i].len);
        cr_expect_arr_eq(buf, varints[i].bytes, varints[i].len);
        cr_expect_eq(read_one(buf, w.len, &good), varints[i].value);
        cr_expect(good);
    }
}

Test(byte, a_varint_that_is_longer_than_needed_or_too_large_is_bad)
{
    static const struct {
        uint8_t bytes[11];
        size_t len;
    } wrong[] = {
        {{0x80, 0x00}, 2},                                                  /* 0 */
        {{0xff, 0x00}, 2},                                                  /* 127 */
        {{0x80, 0x80, 0x00}, 3},                                            /* 0 */
        {{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02}, 10}, /* 2^64 */
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0x00},
         11}, /* 11 bytes */
        {{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, 11},
    };

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        bool good;

        cr_expect_eq(read_one(wrong[i].bytes, wrong[i].len, &good), 0);
        cr_expect_not(good, "number %zu", i);
    }
}

Test(byte, a_varint_that_ends_too_early_is_bad)
{
    for (size_t i = 0; i < VARINTS; i++) {
        for (size_t len = 0; len < varints[i].len; len++) {
            bool good;

            cr_expect_eq(read_one(varints[i].bytes, len, &good), 0);
            cr_expect_not(good);
        }
    }
}

Test(byte, signed_varints_are_short_for_small_numbers_of_either_sign)
{
    static const struct {
        int64_t value;
        uint64_t zigzag;
    } pairs[] = {
        {0, 0},
        {-1, 1},
        {1, 2},
        {-2, 3},
        {63, 126},
        {-64, 127},
        {64, 128},
        {INT32_MAX, 4294967294},
        {INT32_MIN, 4294967295},
        {INT64_MAX, UINT64_MAX - 1},
        {INT64_MIN, UINT64_MAX},
    };

    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        uint8_t buf[16];
        struct writer w = writer_of(buf, sizeof buf);
        struct reader r;
        bool good;

        write_svarint(&w, pairs[i].value);
        cr_expect_eq(read_one(buf, w.len, &good), pairs[i].zigzag);
        cr_expect(good);
        cr_expect_eq(svarint_size(pairs[i].value), w.len);
        r = reader_of(buf, w.len);
        cr_expect_eq(read_svarint(&r), pairs[i].value);
        cr_expect(reader_done(&r));
    }
}

Test(byte, after_the_first_mistake_a_reader_gives_zeros_only)
{
    static const uint8_t bytes[] = {1, 2, 3, 4};
    uint8_t copy[4] = {9, 9, 9, 9};
    struct reader r = reader_of(bytes, sizeof bytes);

    cr_expect_eq(read_u8(&r), 1);
    cr_expect_eq(read_u32(&r), 0);
    cr_expect(r.bad);
    cr_expect_eq(read_u8(&r), 0, "three bytes are left, and they are not given out");
    cr_expect_eq(read_u16(&r), 0);
    cr_expect_eq(read_u64(&r), 0);
    cr_expect_eq(read_varint(&r), 0);
    cr_expect_eq(read_svarint(&r), 0);
    cr_expect_null(read_bytes(&r, 1));
    read_copy(&r, copy, sizeof copy);
    cr_expect_arr_eq(copy, ((uint8_t[4]){0}), sizeof copy);
    cr_expect_not(reader_done(&r));
}

Test(byte, a_reader_is_done_only_when_nothing_is_left)
{
    static const uint8_t bytes[] = {1, 2};
    struct reader r = reader_of(bytes, sizeof bytes);

    cr_expect_not(reader_done(&r));
    read_u8(&r);
    cr_expect_not(reader_done(&r));
    read_u8(&r);
    cr_expect(reader_done(&r));
    r = reader_of(NULL, 0);
    cr_expect(reader_done(&r));
    read_bytes(&r, 0);
    cr_expect(reader_done(&r));
}

Test(byte, bytes_are_read_in_place_and_never_beyond_the_end)
{
    static const uint8_t bytes[] = {1, 2, 3};
    struct reader r = reader_of(bytes, sizeof bytes);

    cr_expect_eq(read_bytes(&r, 2), bytes);
    cr_expect_null(read_bytes(&r, 2));
    r = reader_of(bytes, sizeof bytes);
    read_u8(&r);
    cr_expect_null(read_bytes(&r, SIZE_MAX));
}

Test(byte, a_full_writer_writes_nothing_more_not_even_what_would_fit)
{
    uint8_t buf[4] = {9, 9, 9, 9};
    struct writer w = writer_of(buf, 3);

    write_u16(&w, 0x0201);
    cr_expect_not(w.full);
    write_u16(&w, 0x0403);
    cr_expect(w.full);
    write_u8(&w, 5);
    write_bytes(&w, "", 0);
    cr_expect_eq(w.len, 2);
    cr_expect_arr_eq(buf, ((uint8_t[4]){1, 2, 9, 9}), sizeof buf);
    w = writer_of(buf, sizeof buf);
    write_u8(&w, 1);
    write_bytes(&w, buf, SIZE_MAX);
    cr_expect(w.full, "the sum of lengths must not wrap");
}

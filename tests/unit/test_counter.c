/* tests/unit/test_counter.c: the counter component: ops only add, the origin keeps
 * limits, and equal totals have equal bytes. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/component.h"
#include "replica/crypto.h"

static const struct component *const counter = &counter_component;
static const int64_t total_max = INT64_C(1) << 62;
static uint8_t bytes[1024 * 1024];
static void *state, *other;

static void set_up(void)
{
    state = counter->create(100);
    other = counter->create(100);
    cr_assert(state != NULL && other != NULL);
}

static void tear_down(void)
{
    counter->destroy(state);
    counter->destroy(other);
}

TestSuite(counter, .init = set_up, .fini = tear_down);

static struct op add(const char *name, int64_t value)
{
    return (struct op){.component = counter->number,
                       .kind = OP_ADD,
                       .key_len = (uint8_t)strlen(name),
                       .key = name,
                       .value = value,
                       .text = ""};
}

static int64_t apply(void *to, const char *name, int64_t value)
{
    struct op op = add(name, value);
    struct item *item = counter->apply(to, &op, false);

    cr_assert_not_null(item);
    return item->total;
}

static enum status admit(const char *name, int64_t value, struct item **item)
{
    struct op op = add(name, value);

    return counter->admit(state, &op, item);
}

static size_t encode(void *from)
{
    struct writer w = writer_of(bytes, sizeof bytes);

    counter->encode(from, &w);
    cr_assert_not(w.full);
    cr_assert_leq(w.len, counter->encoded_max(from));
    return w.len;
}

static enum err decode(size_t len, unsigned version)
{
    struct reader r = reader_of(bytes, len);
    enum err err;

    counter->destroy(other);
    other = counter->create(100);
    err = counter->decode(other, &r, version);
    return err == ERR_OK && !reader_done(&r) ? ERR_MALFORMED : err;
}

static int64_t total(const void *of, const char *name)
{
    const struct item *item = counter->find(of, name, strlen(name));

    return item != NULL ? item->total : -1;
}

Test(counter, its_number_and_name_are_those_that_stand_in_logs)
{
    cr_expect_eq(counter->number, 1);
    cr_expect_str_eq(counter->name, "counter");
    cr_expect_eq(component_by_number(1), counter);
    cr_expect_null(component_by_number(0));
    cr_expect_null(component_by_number(2));
}

Test(counter, applying_adds_and_makes_what_is_not_there)
{
    cr_expect_null(counter->find(state, "a", 1));
    cr_expect_eq(apply(state, "a", 5), 5);
    cr_expect_eq(apply(state, "a", -7), -2);
    cr_expect_eq(apply(state, "ab", 1), 1);
    cr_expect_eq(total(state, "a"), -2);
    cr_expect_eq(total(state, "ab"), 1);
    cr_expect_null(counter->find(state, "abc", 3));
}

/* What comes from elsewhere was admitted there, and cannot be refused here. */
Test(counter, applying_knows_no_limits_and_wraps_rather_than_fails)
{
    char name[16];

    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "n%d", i);
        cr_expect_eq(apply(state, name, 1), 1);
    }
    for (int i = 0; i < 5; i++)
        apply(state, "big", total_max / 2);
    cr_expect_eq(apply(state, "big", total_max), (int64_t)(UINT64_C(7) << 61));
    cr_expect_eq(apply(state, "big", total_max), (int64_t)(UINT64_C(9) << 61));
}

Test(counter, admitting_reserves_and_changes_no_total_until_it_is_applied)
{
    struct op op = add("a", 3);
    struct item *item;

    cr_expect_eq(counter->admit(state, &op, &item), STATUS_FINAL);
    cr_expect_eq(item->total, 0);
    cr_expect_eq(item->reserved, 3);
    cr_expect_null(counter->find(state, "a", 1), "nothing is applied yet");
    cr_expect_eq(counter->admit(state, &op, &item), STATUS_FINAL);
    cr_expect_eq(item->reserved, 6);
    cr_expect_eq(counter->apply(state, &op, true), item);
    cr_expect_eq(item->total, 3);
    cr_expect_eq(item->reserved, 3);
    cr_expect_eq(apply(state, "a", 10), 13);
    cr_expect_eq(item->reserved, 3, "another node's op releases nothing of ours");
}

Test(counter, the_origin_keeps_totals_within_2_to_the_62_reservations_included)
{
    struct item *item;

    apply(state, "a", total_max - 5);
    cr_expect_eq(admit("a", 3, &item), STATUS_FINAL);
    cr_expect_eq(admit("a", 3, &item), STATUS_DENIED);
    cr_expect_eq(item->reserved, 3);
    cr_expect_eq(admit("a", 2, &item), STATUS_FINAL);
    cr_expect_eq(admit("a", 1, &item), STATUS_DENIED);
    apply(state, "b", -total_max + 1);
    cr_expect_eq(admit("b", -2, &item), STATUS_DENIED);
    cr_expect_eq(admit("b", -1, &item), STATUS_FINAL);
}

Test(counter, the_origin_brings_no_more_names_into_being_than_it_may)
{
    struct item *item;
    char name[16];

    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "n%d", i);
        cr_assert_eq(admit(name, 1, &item), STATUS_FINAL);
    }
    cr_expect_eq(admit("more", 1, &item), STATUS_DENIED);
    cr_expect_eq(admit("n99", 1, &item), STATUS_FINAL);
}

Test(counter, what_cannot_be_applied_is_refused_before_it_is_logged)
{
    struct op op = add("a b", 1);
    struct item *item;

    cr_expect_eq(counter->check(&op), ERR_MALFORMED);
    cr_expect_eq(counter->admit(state, &op, &item), STATUS_ERROR);
    op = add("a", INT64_C(1) << 31);
    cr_expect_eq(counter->check(&op), ERR_OK);
    op = add("a", (INT64_C(1) << 31) + 1);
    cr_expect_eq(counter->check(&op), ERR_MALFORMED);
    cr_expect_eq(counter->admit(state, &op, &item), STATUS_ERROR);
    op = add("a", 1);
    op.kind = OP_SHOW + 1;
    cr_expect_eq(counter->check(&op), ERR_VERSION);
    cr_expect_eq(counter->admit(state, &op, &item), STATUS_ERROR);
}

/* All of them, in their order, behind each other in a text. */
static const char *names_from(const char *from, bool past)
{
    static char text[256];
    size_t len = 0;
    const struct item *item = counter->first_from(state, from, strlen(from), past);

    for (; item != NULL; item = counter->next(item))
        len += (size_t)snprintf(text + len, sizeof text - len, "%.*s ", item->key_len,
                                item->key);
    text[len] = '\0';
    return text;
}

Test(counter, items_stand_in_the_order_of_the_bytes_of_their_keys)
{
    static const char *const names[] = {"m", "a", "z", "mm", "Z", "0", "m.", "m-", "aa"};

    cr_expect_str_eq(names_from("", false), "");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        apply(state, names[i], 1);
    cr_expect_str_eq(names_from("", false), "0 Z a aa m m- m. mm z ");
}

Test(counter, items_are_looked_at_from_a_key_on_whether_it_is_there_or_not)
{
    apply(state, "aa", 1);
    apply(state, "b", 1);
    apply(state, "ba", 1);
    cr_expect_str_eq(names_from("b", false), "b ba ");
    cr_expect_str_eq(names_from("b", true), "ba ");
    cr_expect_str_eq(names_from("ab", false), "b ba ");
    cr_expect_str_eq(names_from("ab", true), "b ba ");
    cr_expect_str_eq(names_from("ba", true), "");
}

Test(counter, an_empty_state_has_an_encoding)
{
    size_t len = encode(state);

    cr_expect_eq(len, 1);
    cr_expect_eq(decode(len, 1), ERR_OK);
}

Test(counter, what_was_encoded_is_decoded_and_reservations_are_not_part_of_it)
{
    struct item *item;
    size_t len;

    apply(state, "b", INT64_MIN);
    apply(state, "a", 300);
    apply(state, "zero", 0);
    admit("waits", 1, &item);
    admit("a", 1, &item);
    len = encode(state);
    cr_assert_eq(decode(len, counter->version), ERR_OK);
    cr_expect_eq(total(other, "a"), 300);
    cr_expect_eq(total(other, "b"), INT64_MIN);
    cr_expect_eq(total(other, "zero"), 0);
    cr_expect_null(counter->find(other, "waits", 5));
}

Test(counter, equal_totals_have_equal_bytes_whatever_came_in_which_order)
{
    static uint8_t first[256];
    size_t first_len, len;

    apply(state, "a", 1);
    apply(state, "b", 2);
    apply(state, "a", 4);
    first_len = encode(state);
    memcpy(first, bytes, first_len);
    apply(other, "b", 3);
    apply(other, "a", 5);
    apply(other, "b", -1);
    len = encode(other);
    cr_expect_eq(len, first_len);
    cr_expect_arr_eq(bytes, first, len);
}

Test(counter, an_encoding_that_is_not_the_one_is_malformed)
{
    static const uint8_t good[] = {2, 1, 'a', 2, 1, 'b', 4},
                         swapped[] = {2, 1, 'b', 4, 1, 'a', 2},
                         twice[] = {2, 1, 'a', 2, 1, 'a', 2}, bad_name[] = {1, 1, ' ', 2},
                         no_name[] = {1, 0, 2}, long_number[] = {1, 1, 'a', 0x82, 0},
                         fewer[] = {3, 1, 'a', 2, 1, 'b', 4};
    static const struct {
        const uint8_t *bytes;
        size_t len;
    } bad[] = {{swapped, sizeof swapped},         {twice, sizeof twice},
               {bad_name, sizeof bad_name},       {no_name, sizeof no_name},
               {long_number, sizeof long_number}, {fewer, sizeof fewer}};

    memcpy(bytes, good, sizeof good);
    cr_expect_eq(decode(sizeof good, 1), ERR_OK);
    for (size_t cut = 0; cut < sizeof good; cut++)
        cr_expect_eq(decode(cut, 1), ERR_MALFORMED, "%zu", cut);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memcpy(bytes, bad[i].bytes, bad[i].len);
        cr_expect_eq(decode(bad[i].len, 1), ERR_MALFORMED, "%zu", i);
    }
}

/* ---- retirement ---- */

static void put(void *to, const char *name, enum op_kind kind, int64_t generation,
                int64_t before)
{
    struct op op = add(name, generation);

    op.kind = (uint8_t)kind;
    op.before = before;
    cr_assert_not_null(counter->apply(to, &op, false));
}

static bool hidden(const void *of, const char *name)
{
    const struct item *item = counter->find(of, name, strlen(name));

    cr_assert_not_null(item);
    return item_hidden(item);
}

Test(counter, one_that_is_retired_is_hidden_until_it_is_counted_again_and_keeps_its_total)
{
    apply(state, "a", 7);
    cr_expect_not(hidden(state, "a"));
    put(state, "a", OP_RETIRE, 1, 7);
    cr_expect(hidden(state, "a"));
    cr_expect_eq(total(state, "a"), 7);
    apply(state, "a", 1);
    cr_expect_not(hidden(state, "a"));
    put(state, "a", OP_RETIRE, 2, 8);
    cr_expect(hidden(state, "a"));
    put(state, "a", OP_SHOW, 3, 8);
    cr_expect_not(hidden(state, "a"));
    cr_expect_eq(total(state, "a"), 8);
}

Test(counter, what_its_retirer_had_not_seen_shows_it_wherever_it_comes_before_or_after)
{
    apply(state, "a", 7);
    put(state, "a", OP_RETIRE, 1, 7);
    apply(state, "a", 5); /* counted elsewhere, by a node that had not seen it */
    apply(other, "a", 5);
    put(other, "a", OP_RETIRE, 1, 7);
    cr_expect_not(hidden(other, "a"));
    apply(other, "a", 7);
    cr_expect_not(hidden(state, "a"));
    cr_expect_not(hidden(other, "a"));
}

/* Streams arrive in any order. */
Test(counter, retirements_come_to_the_same_in_every_order)
{
    static const struct {
        uint8_t kind;
        int64_t value, before;
    } ops[] = {{OP_ADD, 3, 0},    {OP_RETIRE, 1, 3}, {OP_SHOW, 2, 3},
               {OP_RETIRE, 2, 3}, {OP_RETIRE, 2, 8}, {OP_ADD, 5, 3}};
    enum { OPS = sizeof ops / sizeof *ops, ORDERS = 720 };
    static uint8_t first[256];
    struct hash digest, first_digest;
    size_t first_len = 0;

    for (int order = 0; order < ORDERS; order++) {
        bool taken[OPS] = {false};
        int left = order;
        size_t len;

        counter->destroy(state);
        state = counter->create(100);
        for (int i = 0; i < OPS; i++) {
            int nth = left % (OPS - i), at = 0;

            left /= OPS - i;
            for (;; at++)
                if (!taken[at] && nth-- == 0)
                    break;
            taken[at] = true;
            put(state, "a", ops[at].kind, ops[at].value, ops[at].before);
            if (i == OPS / 2)
                counter->digest(state, crypto_real.hash, &digest);
        }
        len = encode(state);
        counter->digest(state, crypto_real.hash, &digest);
        if (order == 0) {
            memcpy(first, bytes, len);
            first_len = len;
            first_digest = digest;
        }
        cr_expect_eq(len, first_len);
        cr_expect_arr_eq(bytes, first, first_len);
        cr_expect(hash_equal(&digest, &first_digest));
    }
    cr_expect_not(hidden(state, "a"),
                  "of two that did not see each other the one to show");
}

Test(counter, a_retirement_is_in_the_encoding_and_in_the_digest)
{
    struct hash before, after;

    apply(state, "a", 7);
    apply(state, "b", 1);
    counter->digest(state, crypto_real.hash, &before);
    put(state, "a", OP_RETIRE, 1, 7);
    counter->digest(state, crypto_real.hash, &after);
    cr_expect_not(hash_equal(&before, &after));
    cr_assert_eq(decode(encode(state), counter->version), ERR_OK);
    cr_expect(hidden(other, "a"));
    cr_expect_not(hidden(other, "b"));
    counter->digest(other, crypto_real.hash, &before);
    cr_expect(hash_equal(&before, &after));
}

Test(counter, version_1_knew_no_retirements)
{
    static const uint8_t old[] = {1, 1, 'a', 14};

    memcpy(bytes, old, sizeof old);
    cr_assert_eq(decode(sizeof old, 1), ERR_OK);
    cr_expect_eq(total(other, "a"), 7);
    cr_expect_not(hidden(other, "a"));
    cr_expect_eq(encode(other), sizeof old + 1);
}

Test(counter, what_is_not_there_is_not_retired)
{
    struct op op = add("a", 1);
    struct item *item;

    op.kind = OP_RETIRE;
    cr_expect_eq(counter->admit(state, &op, &item), STATUS_ERROR);
    admit("a", 1, &item);
    cr_expect_eq(counter->admit(state, &op, &item), STATUS_ERROR, "only reserved yet");
    apply(state, "a", 1);
    cr_expect_eq(counter->admit(state, &op, &item), STATUS_FINAL);
    cr_expect_eq(item->reserved, 1);
}

Test(counter, a_newer_version_is_told_as_such_and_version_0_is_none)
{
    size_t len = encode(state);

    cr_expect_eq(decode(len, counter->version), ERR_OK);
    cr_expect_eq(decode(len, counter->version + 1), ERR_VERSION);
    cr_expect_eq(decode(len, 0), ERR_MALFORMED);
}

static struct hash digest(void *of)
{
    struct hash hash;

    counter->digest(of, crypto_real.hash, &hash);
    return hash;
}

Test(counter, equal_totals_have_one_digest_whatever_came_in_which_order)
{
    struct hash first, second;

    apply(state, "a", 1);
    first = digest(state); /* Between two changes, as peers ask for it. */
    apply(state, "b", 2);
    apply(state, "a", 4);
    apply(other, "b", 3);
    apply(other, "a", 5);
    second = digest(other);
    cr_expect(!hash_equal(&first, &second));
    apply(other, "b", -1);
    first = digest(state);
    second = digest(other);
    cr_expect(hash_equal(&first, &second));
    apply(other, "b", 1);
    apply(other, "a", -1);
    second = digest(other);
    cr_expect(!hash_equal(&first, &second), "equal sums, other totals");
}

Test(counter, what_is_loaded_has_the_digest_of_what_was_saved)
{
    struct hash first, second;
    size_t len;

    apply(state, "a", 7);
    apply(state, "b", -2);
    first = digest(state);
    len = encode(state);
    cr_assert_eq(decode(len, counter->version), ERR_OK);
    second = digest(other);
    cr_expect(hash_equal(&first, &second));
}

/* ---- snapshots ---- */

/* A state of twelve counters, every third of them retired. */
static void twelve(void)
{
    char name[8];

    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "n%02d", i);
        apply(state, name, i);
        if (i % 3 == 0) {
            struct op op = add(name, 1);

            op.kind = OP_RETIRE;
            op.before = i;
            cr_assert_not_null(counter->apply(state, &op, false));
        }
    }
}

/* Begun as of the present, with change() called behind so many items; it is to say what the encoding said then. */
static void expect_snapshot_of_its_beginning(size_t behind, void (*change)(void))
{
    static uint8_t expected[sizeof bytes];
    size_t len = encode(state);
    struct writer w = writer_of(bytes, counter->encoded_max(state));
    bool whole;

    memcpy(expected, bytes, len);
    counter->snapshot_begin(state);
    whole = behind > 0 && counter->snapshot_step(state, &w, behind);
    cr_assert_not(whole);
    change();
    for (int i = 0; !counter->snapshot_step(state, &w, 1); i++)
        cr_assert_lt(i, 100, "it comes to an end");
    cr_expect_eq(w.len, len);
    cr_expect_arr_eq(bytes, expected, len, "changed behind %zu", behind);
}

static void count_all(void)
{
    char name[8];

    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "n%02d", i);
        apply(state, name, 100);
        apply(state, name, 100);
    }
}

static void retire_all(void)
{
    struct op op = add("", 7);
    char name[8];

    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "n%02d", i);
        op.key = name;
        op.key_len = (uint8_t)strlen(name);
        op.kind = i % 2 == 0 ? OP_RETIRE : OP_SHOW;
        cr_assert_not_null(counter->apply(state, &op, false));
    }
}

static void add_new_ones(void)
{
    struct item *item;

    apply(state, "a", 1);
    apply(state, "n03a", 1);
    apply(state, "n10a", 1);
    apply(state, "z", 1);
    cr_assert_eq(admit("n11a", 1, &item), STATUS_FINAL);
    apply(state, "n11b", 1);
}

static void change_nothing(void) {}

Test(counter, a_snapshot_in_pieces_says_what_the_encoding_at_once_says)
{
    twelve();
    for (size_t behind = 0; behind < 12; behind++)
        expect_snapshot_of_its_beginning(behind, change_nothing);
}

Test(counter, what_is_counted_in_the_middle_of_a_snapshot_is_not_in_it)
{
    twelve();
    for (size_t behind = 0; behind < 12; behind++)
        expect_snapshot_of_its_beginning(behind, count_all);
}

Test(counter, what_is_retired_in_the_middle_of_a_snapshot_is_as_it_was)
{
    for (size_t behind = 0; behind < 12; behind++) {
        tear_down();
        set_up();
        twelve();
        expect_snapshot_of_its_beginning(behind, retire_all);
    }
}

Test(counter, counters_that_come_into_being_in_the_middle_of_a_snapshot_are_not_in_it)
{
    for (size_t behind = 0; behind < 12; behind++) {
        tear_down();
        set_up();
        twelve();
        expect_snapshot_of_its_beginning(behind, add_new_ones);
    }
}

Test(counter, behind_a_snapshot_the_next_one_has_what_was_counted_meanwhile)
{
    twelve();
    expect_snapshot_of_its_beginning(5, count_all);
    expect_snapshot_of_its_beginning(5, change_nothing);
}

Test(counter, a_snapshot_ranks_what_it_has_and_leaves_the_rest_out)
{
    struct writer w = writer_of(bytes, sizeof bytes);
    struct item *reserved;

    twelve();
    cr_assert_eq(admit("n03a", 1, &reserved), STATUS_FINAL);
    counter->snapshot_begin(state);
    apply(state, "n01a", 1);
    cr_assert(counter->snapshot_step(state, &w, 100));
    cr_expect_eq(counter->find(state, "n00", 3)->rank, 0);
    cr_expect_eq(counter->find(state, "n03", 3)->rank, 3);
    cr_expect_eq(counter->find(state, "n04", 3)->rank, 4);
    cr_expect_eq(counter->find(state, "n11", 3)->rank, 11);
}

Test(counter, a_state_goes_with_its_snapshot_in_the_middle)
{
    struct writer w = writer_of(bytes, sizeof bytes);

    twelve();
    counter->snapshot_begin(state);
    cr_assert_not(counter->snapshot_step(state, &w, 3));
    count_all(); /* And its copies: what runs under a sanitizer sees them. */
}

Test(counter, a_digest_that_was_prepared_is_the_same_digest)
{
    struct hash at_once, prepared;

    twelve();
    counter->digest(state, crypto_real.hash, &at_once);
    for (int i = 0; i < 2; i++) {
        count_all();
        counter->prepare_digest(state, crypto_real.hash, 5);
    }
    counter->prepare_digest(state, crypto_real.hash, 0);
    counter->digest(state, crypto_real.hash, &prepared);
    cr_expect_not(hash_equal(&at_once, &prepared));
    cr_assert_eq(decode(encode(state), 2), ERR_OK);
    counter->digest(other, crypto_real.hash, &at_once);
    cr_expect(hash_equal(&at_once, &prepared));
}

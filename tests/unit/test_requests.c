/* tests/unit/test_requests.c: the memory of a node's own counts: a ring that forgets the
 * oldest, and finds by id. */
#include <criterion/criterion.h>
#include <string.h>

#include "replica/requests.h"
#include "tests/lib/history.h"

static struct item item;

static void add(struct requests *r, const struct id *id, uint64_t number)
{
    struct request request = {.id = *id,
                              .item = &item,
                              .value = 1,
                              .number = (int64_t)number,
                              .place = {1, number}};

    requests_add(r, &request);
}

/* Ids that all want the same place in the table: they differ in their last byte only. */
static struct id colliding(uint64_t n)
{
    struct id id = {{1, 2, 3, 4, 5, 6, 7, 8}};

    id.byte[ID_BYTES - 1] = (uint8_t)n;
    id.byte[ID_BYTES - 2] = (uint8_t)(n >> 8);
    return id;
}

static void expect_exactly(const struct requests *r, struct id (*id_of)(uint64_t n),
                           uint64_t first, uint64_t last)
{
    cr_expect_eq(requests_count(r), last - first + 1);
    for (uint64_t n = 1; n <= last; n++) {
        struct id id = id_of(n);
        const struct request *found = requests_find(r, &id);

        cr_assert_eq(found != NULL, n >= first, "%d of %d", (int)n, (int)last);
        cr_assert(found == NULL || found->number == (int64_t)n);
    }
    for (uint64_t n = first; n <= last; n++)
        cr_assert_eq(requests_at(r, n - first)->number, (int64_t)n);
}

Test(requests, an_empty_memory_finds_nothing_and_reaches_back_to_the_beginning)
{
    struct requests *r = requests_new(8);
    struct id id = history_id(1), zero = {{0}};

    cr_expect_null(requests_find(r, &id));
    cr_expect_null(requests_find(r, &zero));
    cr_expect_eq(requests_count(r), 0);
    cr_expect_eq(requests_reach(r).stream, 0);
    cr_expect_eq(requests_reach(r).number, 0);
    requests_free(r);
}

Test(requests, the_oldest_is_forgotten_where_there_is_no_room)
{
    struct requests *r = requests_new(8);

    for (uint64_t n = 1; n <= 30; n++) {
        struct id id = history_id(n);

        add(r, &id, n);
        expect_exactly(r, history_id, n > 8 ? n - 7 : 1, n);
        cr_expect_eq(requests_reach(r).number, n > 8 ? n - 8 : 0);
        cr_expect_eq(requests_reach(r).stream, n > 8 ? 1 : 0);
    }
    requests_free(r);
}

/* Each deletion has to move up what stands behind it, over the table's end too. */
Test(requests, ids_that_collide_are_found_and_forgotten_like_others)
{
    struct requests *r = requests_new(16);

    for (uint64_t n = 1; n <= 100; n++) {
        struct id id = colliding(n);

        add(r, &id, n);
        expect_exactly(r, colliding, n > 16 ? n - 15 : 1, n);
    }
    requests_free(r);
}

/* Few homes, in every mixture: a simple generator of numbers, from a few seeds. */
static uint32_t seed;

static struct id mixed(uint64_t n)
{
    struct id id = {{0}};

    id.byte[0] = (uint8_t)((n * 2654435761u + seed) >> 7) & 0x3f;
    id.byte[8] = (uint8_t)n;
    id.byte[9] = (uint8_t)(n >> 8);
    return id;
}

Test(requests, none_is_lost_in_any_mixture_of_homes)
{
    for (seed = 0; seed < 2000; seed += 37) {
        struct requests *r = requests_new(32);

        for (uint64_t n = 1; n <= 200; n++) {
            struct id id = mixed(n);

            add(r, &id, n);
            if (n % 13 == 0)
                expect_exactly(r, mixed, n > 32 ? n - 31 : 1, n);
        }
        requests_free(r);
    }
}

Test(requests, ids_differ_in_any_byte)
{
    struct requests *r = requests_new(32);
    struct id id = {{0}};

    add(r, &id, 1);
    for (size_t i = 0; i < ID_BYTES; i++) {
        struct id other = {{0}};

        other.byte[i] = 1;
        cr_expect_null(requests_find(r, &other), "byte %zu", i);
    }
    cr_expect_not_null(requests_find(r, &id));
    requests_free(r);
}

Test(requests, an_id_that_comes_again_is_found_as_it_came_last_until_that_is_forgotten)
{
    struct requests *r = requests_new(8);
    const struct id twice = colliding(500);

    for (uint64_t n = 1; n <= 40; n++) {
        struct id id = n == 10 || n == 14 ? twice : colliding(n);
        const struct request *found;

        add(r, &id, n);
        for (uint64_t other = n > 8 ? n - 7 : 1; other <= n; other++) {
            id = colliding(other);
            found = requests_find(r, &id);
            cr_assert_eq(found != NULL, other != 10 && other != 14, "%d at %d",
                         (int)other, (int)n);
        }
        found = requests_find(r, &twice);
        cr_assert_eq(found != NULL, n >= 10 && n < 14 + 8, "at %d", (int)n);
        cr_assert(found == NULL || found->number == (n < 14 ? 10 : 14));
    }
    requests_free(r);
}

Test(requests, a_restored_reach_stays_until_more_is_forgotten)
{
    struct requests *r = requests_new(2);
    struct id id;

    requests_set_reach(r, (struct own_place){3, 9});
    id = history_id(1);
    add(r, &id, 1);
    cr_expect_eq(requests_reach(r).stream, 3);
    cr_expect_eq(requests_reach(r).number, 9);
    requests_free(r);
}

Test(requests, places_are_ordered_by_stream_then_by_number)
{
    cr_expect(own_place_before((struct own_place){1, 9}, (struct own_place){2, 1}));
    cr_expect(own_place_before((struct own_place){2, 1}, (struct own_place){2, 2}));
    cr_expect_not(own_place_before((struct own_place){2, 2}, (struct own_place){2, 2}));
    cr_expect_not(own_place_before((struct own_place){2, 1}, (struct own_place){1, 9}));
}

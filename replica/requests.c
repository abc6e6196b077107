#include "replica/requests.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A ring of requests, and an open-addressing table of their indices: linear probing, at most half full,
 * deletion by moving up what follows. A uthash handle alone would be larger than a request. */
struct requests {
    size_t size;            /* of the ring; the table has twice as many places */
    uint64_t added, oldest; /* ever; the ring index is the number modulo size */
    struct own_place reach;
    uint32_t *table; /* ring index + 1; 0: free */
    struct request ring[];
};

struct requests *requests_new(size_t size)
{
    struct requests *r;

    assert(size > 0 && (size & (size - 1)) == 0 && size <= UINT32_MAX / 2);
    r = calloc(1, sizeof *r + size * sizeof *r->ring);
    if (r == NULL)
        return NULL;
    r->size = size;
    r->table = calloc(2 * size, sizeof *r->table);
    if (r->table == NULL) {
        free(r);
        return NULL;
    }
    return r;
}

void requests_free(struct requests *r)
{
    if (r == NULL)
        return;
    free(r->table);
    free(r);
}

/* Ids are random or hashes, so any of their bytes will do. */
static size_t home(const struct requests *r, const struct id *id)
{
    uint64_t h;

    memcpy(&h, id->byte, sizeof h);
    return (size_t)h & (2 * r->size - 1);
}

static size_t next_place(const struct requests *r, size_t at)
{
    return (at + 1) & (2 * r->size - 1);
}

static size_t place_of(const struct requests *r, const struct id *id)
{
    size_t at = home(r, id);

    while (r->table[at] != 0 && !id_equal(&r->ring[r->table[at] - 1].id, id))
        at = next_place(r, at);
    return at;
}

const struct request *requests_find(const struct requests *r, const struct id *id)
{
    size_t at = place_of(r, id);

    return r->table[at] == 0 ? NULL : &r->ring[r->table[at] - 1];
}

static void forget_oldest(struct requests *r)
{
    size_t mask = 2 * r->size - 1, index = r->oldest++ & (r->size - 1);
    struct request *gone = &r->ring[index];
    size_t hole = place_of(r, &gone->id);

    assert(r->table[hole] != 0);
    /* A stream of ours that a peer gave back after a restore comes late, with an early place. */
    if (own_place_before(r->reach, gone->place))
        r->reach = gone->place;
    if (r->table[hole] != index + 1)
        return; /* The same id came again behind it. */
    for (size_t at = next_place(r, hole); r->table[at] != 0; at = next_place(r, at)) {
        size_t from = home(r, &r->ring[r->table[at] - 1].id);

        /* May the entry at `at` stand in the hole? Only if its home is not behind the hole. */
        if (((at - from) & mask) >= ((at - hole) & mask)) {
            r->table[hole] = r->table[at];
            hole = at;
        }
    }
    r->table[hole] = 0;
}

void requests_add(struct requests *r, const struct request *request)
{
    size_t index, at;

    if (r->added - r->oldest == r->size)
        forget_oldest(r);
    index = r->added++ & (r->size - 1);
    at = place_of(r, &request->id);
    r->ring[index] = *request;
    r->table[at] = (uint32_t)index + 1;
}

struct own_place requests_reach(const struct requests *r)
{
    return r->reach;
}

void requests_set_reach(struct requests *r, struct own_place reach)
{
    r->reach = reach;
}

size_t requests_count(const struct requests *r)
{
    return (size_t)(r->added - r->oldest);
}

const struct request *requests_at(const struct requests *r, size_t index)
{
    return &r->ring[(r->oldest + index) & (r->size - 1)];
}

void requests_copy(const struct requests *r, struct request *to)
{
    size_t count = requests_count(r), first = r->oldest & (r->size - 1);
    size_t to_end = r->size - first < count ? r->size - first : count;

    memcpy(to, r->ring + first, to_end * sizeof *to);
    memcpy(to + to_end, r->ring, (count - to_end) * sizeof *to);
}

bool own_place_before(struct own_place a, struct own_place b)
{
    return a.stream < b.stream || (a.stream == b.stream && a.number < b.number);
}

#include "tests/simulation/archive.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulation/broken.h"
#include "tests/simulation/history.h"
#include "tests/simulation/idmap.h"

/* With real signatures one block in so many is verified, besides each stream's first. */
enum { VERIFY_EVERY = 8 };

struct archive {
    const struct crypto *crypto;
    const struct key_pair *keys;
    unsigned nodes;
    struct archived *newest;
    size_t blocks;
    struct archive_stream **streams;
    size_t stream_count, stream_size;
    struct idmap stream_ids;
    struct archived_count *counts;
    size_t count_count, count_size;
    struct idmap ids; /* to the last count with that id */
    struct id cluster;
    bool clustered;
};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* Room for one more in a growing array. */
static void *room(void *list, size_t count, size_t *size, size_t item)
{
    if (count < *size)
        return list;
    *size = *size == 0 ? 64 : 2 * *size;
    return must(realloc(list, *size * item));
}

struct archive *archive_new(const struct crypto *crypto, const struct key_pair *keys,
                            unsigned nodes)
{
    struct archive *a = must(calloc(1, sizeof *a));

    a->crypto = crypto;
    a->keys = keys;
    a->nodes = nodes;
    return a;
}

void archive_free(struct archive *a)
{
    while (a->newest != NULL) {
        struct archived *older = a->newest->older;

        free(a->newest);
        a->newest = older;
    }
    for (size_t i = 0; i < a->stream_count; i++) {
        free(a->streams[i]->blocks);
        free(a->streams[i]);
    }
    idmap_clear(&a->stream_ids);
    idmap_clear(&a->ids);
    free(a->streams);
    free(a->counts);
    free(a);
}

/* ---- looking ---- */

size_t archive_streams(const struct archive *a)
{
    return a->stream_count;
}

struct archive_stream *archive_stream(const struct archive *a, size_t index)
{
    return a->streams[index];
}

struct archive_stream *archive_find(const struct archive *a, const struct id *id)
{
    int64_t index = idmap_get(&a->stream_ids, id);

    return index < 0 ? NULL : a->streams[index];
}

/* All contents under a number, one after another. */
static struct archived *contents(const struct archive *a, const struct position *position)
{
    const struct archive_stream *s = archive_find(a, &position->stream);

    if (s == NULL || position->number == 0 || position->number > s->count)
        return NULL;
    return s->blocks[position->number - 1];
}

struct archived *archive_block(const struct archive *a, const struct position *position,
                               const struct hash *hash)
{
    struct archived *block = contents(a, position);

    while (block != NULL && !hash_equal(&block->hash, hash))
        block = block->other;
    return block;
}

struct archived *archive_known(const struct archive *a, const uint8_t *bytes, size_t len)
{
    struct position position;
    struct archived *block;

    if (!block_peek(bytes, len, &position))
        return NULL;
    block = contents(a, &position);
    while (block != NULL && (block->len != len || memcmp(block->bytes, bytes, len) != 0))
        block = block->other;
    return block;
}

size_t archive_blocks(const struct archive *a)
{
    return a->blocks;
}

int64_t archive_counted(const struct archive *a, const struct id *id)
{
    return idmap_get(&a->ids, id);
}

const struct archived_count *archive_count_at(const struct archive *a, int64_t index)
{
    return &a->counts[index];
}

void archive_again(struct archive *a, int64_t index)
{
    a->counts[index].again = true;
}

void archive_said(struct archive *a, int64_t index)
{
    a->counts[index].said = true;
}

size_t archive_counts(const struct archive *a)
{
    return a->count_count;
}

/* ---- a new block ---- */

static unsigned node_of(const struct archive *a, const struct public_key *key)
{
    unsigned node = 0;

    while (node < a->nodes && memcmp(&a->keys[node].public, key, sizeof *key) != 0)
        node++;
    return node;
}

static struct archive_stream *stream_add(struct archive *a, unsigned node,
                                         const struct block *b)
{
    struct archive_stream *s = must(calloc(1, sizeof *s));

    if (b->number != 1)
        broken("a stream begins with block %" PRIu64, b->number);
    if (node_of(a, &b->origin.key) != node)
        broken("a stream names another node than the one that writes it");
    s->id = b->stream;
    s->node = node;
    s->cluster = b->origin.cluster;
    s->provisional = b->origin.provisional;
    a->streams = room(a->streams, a->stream_count, &a->stream_size, sizeof *a->streams);
    idmap_set(&a->stream_ids, &s->id, a->stream_count);
    a->streams[a->stream_count++] = s;
    return s;
}

/* The block that this one continues. */
static struct archived *parent_of(const struct archive *a, const struct block *b)
{
    struct position position = {b->stream, b->number - 1};
    struct archived *parent;

    if (b->number == 1)
        return NULL;
    parent = archive_block(a, &position, &b->previous);
    if (parent == NULL)
        broken("block %" PRIu64 " does not continue its stream", b->number);
    return parent;
}

static void push_op(struct archive *a, struct archived *block, const struct op *op,
                    const struct held *seen)
{
    uint32_t counter = history_counter(op->key, op->key_len);
    int64_t before = idmap_get(&a->ids, &op->id), own;

    if (counter >= ARCHIVE_COUNTERS)
        broken("a counter stands in a block that nobody asked for");
    own = block->total[counter] -
          (block->parent != NULL ? block->parent->total[counter] : 0);
    if (op->before != held_total(seen, counter) + own)
        broken("a block says that counter %u stood at %" PRId64
               " before it, and there it was %" PRId64,
               counter, op->before, held_total(seen, counter) + own);
    if (op->kind != OP_ADD)
        return;
    block->total[counter] += op->value;
    a->counts = room(a->counts, a->count_count, &a->count_size, sizeof *a->counts);
    a->counts[a->count_count] = (struct archived_count){.block = block,
                                                        .before = before,
                                                        .value = op->value,
                                                        .number = op->before + op->value,
                                                        .counter = counter};
    idmap_set(&a->ids, &op->id, a->count_count++);
}

static void push_ops(struct archive *a, struct archived *block, const struct block *b,
                     const struct held *seen)
{
    struct block_cursor cursor = block_ops(b);
    struct op op;

    while (block_next_op(&cursor, &op))
        push_op(a, block, &op, seen);
}

static void check_signature(const struct archive *a, unsigned node, const struct block *b)
{
    if (a->crypto == &crypto_real && b->number != 1 && b->number % VERIFY_EVERY != 0)
        return;
    if (!block_signed(b, a->crypto, &a->keys[node].public))
        broken("the signature of block %" PRIu64 " is wrong", b->number);
}

/* One content per number, unless two go on with one stream. */
static void place(struct archive_stream *s, struct archived *block)
{
    if (block->number <= s->count) {
        if (!s->may_fork)
            broken("two different blocks are written under one stream and the number "
                   "%" PRIu64,
                   block->number);
        s->forked = true;
        block->other = s->blocks[block->number - 1];
        s->blocks[block->number - 1] = block;
        return;
    }
    s->blocks = room(s->blocks, s->count, &s->size, sizeof(void *));
    s->blocks[s->count++] = block;
}

struct archived *archive_add(struct archive *a, unsigned node, const struct held *seen,
                             const uint8_t *bytes, size_t len)
{
    struct archived *block = must(calloc(1, sizeof *block + len));
    struct archive_stream *s;
    struct block b;
    enum err err;

    memcpy(block->bytes, bytes, len);
    block->len = len;
    err = block_decode(block->bytes, len, a->crypto, &b);
    if (err != ERR_OK)
        broken("a block is written that cannot be read: %s", err_name(err));
    s = archive_find(a, &b.stream);
    if (s == NULL)
        s = stream_add(a, node, &b);
    if (s->node != node)
        broken("a block is written that its maker never wrote");
    check_signature(a, node, &b);
    block->stream = (uint32_t)idmap_get(&a->stream_ids, &b.stream);
    block->number = b.number;
    block->hash = b.hash;
    block->parent = parent_of(a, &b);
    if (block->parent != NULL)
        memcpy(block->total, block->parent->total, sizeof block->total);
    place(s, block);
    push_ops(a, block, &b, seen);
    block->older = a->newest;
    a->newest = block;
    a->blocks++;
    return block;
}

void archive_durable(struct archive *a, struct archived *block, unsigned node)
{
    const struct id *cluster = &a->streams[block->stream]->cluster;
    const uint32_t bit = UINT32_C(1) << node;

    for (; block != NULL && (block->nodes & bit) == 0; block = block->parent) {
        block->nodes |= bit;
        if (a->nodes > 1 && a->clustered && !id_equal(&a->cluster, cluster))
            broken("a stream begins in another cluster");
        a->clustered = true;
        a->cluster = *cluster;
    }
}

void archive_may_fork(struct archive *a, const struct id *id)
{
    struct archive_stream *s = archive_find(a, id);

    if (s != NULL)
        s->may_fork = true;
}

/* ---- sets ---- */

void held_clear(struct held *h)
{
    free(h->end);
    *h = (struct held){0};
}

void held_copy(struct held *to, const struct held *from)
{
    held_clear(to);
    held_add(to, from);
}

struct archived *held_end(const struct held *h, size_t stream)
{
    return stream < h->size ? h->end[stream] : NULL;
}

uint64_t held_number(const struct held *h, size_t stream)
{
    const struct archived *end = held_end(h, stream);

    return end != NULL ? end->number : 0;
}

static void held_grow(struct held *h, size_t size)
{
    if (size <= h->size)
        return;
    size = size < 16 ? 16 : size * 3 / 2;
    h->end = must(realloc(h->end, size * sizeof *h->end));
    memset(h->end + h->size, 0, (size - h->size) * sizeof *h->end);
    h->size = size;
}

void held_set(struct held *h, struct archived *block)
{
    held_grow(h, block->stream + 1);
    h->end[block->stream] = block;
}

bool held_has(const struct archive *a, const struct held *h, const struct archived *block)
{
    const struct archived *end = held_end(h, block->stream);

    if (end == NULL || end->number < block->number)
        return false;
    if (!a->streams[block->stream]->forked)
        return true;
    while (end->number > block->number)
        end = end->parent;
    return end == block;
}

void held_add(struct held *h, const struct held *more)
{
    held_grow(h, more->size);
    for (size_t i = 0; i < more->size; i++)
        if (more->end[i] != NULL &&
            (h->end[i] == NULL || h->end[i]->number < more->end[i]->number))
            h->end[i] = more->end[i];
}

int64_t held_total(const struct held *h, uint32_t counter)
{
    int64_t total = 0;

    for (size_t i = 0; i < h->size; i++)
        if (h->end[i] != NULL)
            total += h->end[i]->total[counter];
    return total;
}

uint64_t held_blocks(const struct held *h)
{
    uint64_t blocks = 0;

    for (size_t i = 0; i < h->size; i++)
        blocks += h->end[i] != NULL ? h->end[i]->number : 0;
    return blocks;
}

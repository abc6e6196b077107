/* replica/counter.c: the counter component: names and 64-bit totals, to which ops only add; and whether each is
 * retired. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A full table must not end the process behind our back: no memory is reported. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "replica/component.h"
#include "replica/mutant.h"

enum {
    COUNTER_NUMBER = 1,
    COUNTER_VERSION = 2,
    VERSION_RETIREMENT = 2, /* the first with it */
};

/* The origin lets no total pass this; so no merge of origins that each keep to it in good faith comes near
 * the end of 64 bits. */
static const int64_t total_max = INT64_C(1) << 62;
static const int64_t amount_max = INT64_C(1) << 31;

struct counter {
    struct item item; /* first, so that an item's address is its counter's */
    UT_hash_handle hh;
    struct counter *dirty_next; /* of those that changed since the last digest */
    int64_t digested_total;     /* as the digest has it */
    struct retirement digested_retirement;
    bool dirty, digested;
    char name[];
};

struct counters {
    struct counter *table;
    size_t count, admitted_max;
    /* All counters; the first sorted_count stand in the order of their names. Only a checkpoint
     * needs the order, so new ones are merged in there and cost nothing on the way. */
    struct item **list;
    size_t sorted_count, list_size;
    struct counter *dirty;
    uint64_t digest[HASH_BYTES / 8]; /* the sum of all counters' hashes, modulo 2^256 */
};

static void *counter_create(size_t items_max)
{
    struct counters *c = calloc(1, sizeof *c);

    if (c != NULL)
        c->admitted_max = items_max;
    return c;
}

static void counter_destroy(void *state)
{
    struct counters *c = state;

    HASH_CLEAR(hh, c->table);
    for (size_t i = 0; i < c->count; i++)
        free(c->list[i]);
    free(c->list);
    free(c);
}

static struct counter *lookup(const struct counters *c, const char *name, size_t len)
{
    struct counter *found;

    HASH_FIND(hh, c->table, name, len, found);
    return found;
}

static bool list_grow(struct counters *c)
{
    size_t size = c->list_size == 0 ? 64 : 2 * c->list_size;
    struct item **list = realloc(c->list, size * sizeof *list);

    if (list == NULL)
        return false;
    c->list = list;
    c->list_size = size;
    return true;
}

static struct counter *counter_add(struct counters *c, const char *name, uint8_t len)
{
    struct counter *new;

    if (c->count == c->list_size && !list_grow(c))
        return NULL;
    new = calloc(1, sizeof *new + len);
    if (new == NULL)
        return NULL;
    memcpy(new->name, name, len);
    new->item.key = new->name;
    new->item.key_len = len;
    HASH_ADD_KEYPTR(hh, c->table, new->name, len, new);
    if (new->hh.tbl == NULL) {
        free(new);
        return NULL;
    }
    c->list[c->count++] = &new->item;
    return new;
}

static enum err counter_check(const struct op *op)
{
    if (op->kind != OP_ADD && op->kind != OP_RETIRE && op->kind != OP_SHOW)
        return ERR_VERSION;
    if (!name_valid(op->key, op->key_len) || !tag_valid(op->text, op->text_len) ||
        op->value > amount_max || op->value < (op->kind == OP_ADD ? -amount_max : 1))
        return ERR_MALFORMED;
    return ERR_OK;
}

/* What is retired has to be there. */
static enum status admit_retirement(const struct counters *c, const struct op *op,
                                    struct item **item)
{
    struct counter *counter = lookup(c, op->key, op->key_len);

    if (counter == NULL || !counter->item.applied)
        return STATUS_ERROR;
    *item = &counter->item;
    return STATUS_FINAL;
}

static enum status counter_admit(void *state, const struct op *op, struct item **item)
{
    struct counters *c = state;
    struct counter *counter;
    int64_t after;

    if (counter_check(op) != ERR_OK)
        return STATUS_ERROR;
    if (op->kind != OP_ADD)
        return admit_retirement(c, op, item);
    counter = lookup(c, op->key, op->key_len);
    after = op->value;
    if (counter !=
        NULL) /* Cannot overflow: both stay within total_max, unless merged from afar. */
        after = (int64_t)((uint64_t)counter->item.total +
                          (uint64_t)counter->item.reserved + (uint64_t)op->value);
    if (after > total_max || after < -total_max)
        return STATUS_DENIED;
    if (counter == NULL) {
        if (c->count >= c->admitted_max)
            return STATUS_DENIED;
        counter = counter_add(c, op->key, op->key_len);
        if (counter == NULL)
            return STATUS_UNAVAILABLE;
    }
    counter->item.reserved += op->value;
    *item = &counter->item;
    return STATUS_FINAL;
}

static void touch(struct counters *c, struct counter *counter)
{
    if (counter->dirty)
        return;
    counter->dirty = true;
    counter->dirty_next = c->dirty;
    c->dirty = counter;
}

static bool retirement_before(const struct retirement *a, const struct retirement *b)
{
    if (a->generation != b->generation)
        return a->generation < b->generation;
    if (a->hidden != b->hidden)
        return a->hidden;
    return a->total < b->total;
}

static void retire(struct retirement *retirement, const struct op *op)
{
    const struct retirement new = {.generation = (uint32_t)op->value,
                                   .hidden = op->kind == OP_RETIRE,
                                   .total = op->before};

    if (retirement_before(retirement, &new) || MUTANT(retire_last))
        *retirement = new;
}

static struct item *counter_apply(void *state, const struct op *op, bool admitted)
{
    struct counters *c = state;
    struct counter *counter = lookup(c, op->key, op->key_len);

    if (counter == NULL)
        counter = counter_add(c, op->key, op->key_len);
    if (counter == NULL)
        return NULL;
    /* Unsigned: wrapping is at least the same on every node. */
    counter->item.total =
        (int64_t)((uint64_t)counter->item.total + (uint64_t)op_amount(op));
    if (op->kind != OP_ADD)
        retire(&counter->item.retirement, op);
    counter->item.applied = true;
    touch(c, counter);
    if (admitted)
        counter->item.reserved -= op_amount(op);
    return &counter->item;
}

static const struct item *counter_find(const void *state, const char *key, size_t key_len)
{
    const struct counter *counter = lookup(state, key, key_len);

    return counter != NULL && counter->item.applied ? &counter->item : NULL;
}

static int item_order(const struct item *a, const struct item *b)
{
    size_t shorter = a->key_len < b->key_len ? a->key_len : b->key_len;
    int order = memcmp(a->key, b->key, shorter);

    return order != 0 ? order : (int)a->key_len - (int)b->key_len;
}

static int pointer_order(const void *a, const void *b)
{
    return item_order(*(struct item *const *)a, *(struct item *const *)b);
}

/* Sort the new ones and merge them, from the back, into the sorted ones before them. */
static bool list_sort(struct counters *c)
{
    size_t fresh = c->count - c->sorted_count, left = c->sorted_count;
    struct item **new;

    if (fresh == 0)
        return true;
    new = malloc(fresh * sizeof *new);
    if (new == NULL)
        return false;
    memcpy(new, c->list + c->sorted_count, fresh * sizeof *new);
    qsort(new, fresh, sizeof *new, pointer_order);
    for (size_t to = c->count; fresh > 0; to--) {
        if (left > 0 && item_order(c->list[left - 1], new[fresh - 1]) > 0)
            c->list[to - 1] = c->list[--left];
        else
            c->list[to - 1] = new[--fresh];
    }
    free(new);
    c->sorted_count = c->count;
    return true;
}

static size_t counter_count(const void *state)
{
    return ((const struct counters *)state)->count;
}

static struct item **counter_sorted(void *state, size_t *count)
{
    struct counters *c = state;

    *count = c->count;
    if (c->count == 0 && c->list_size == 0 && !list_grow(c))
        return NULL;
    return list_sort(c) ? c->list : NULL;
}

/* A counter's part of the digest: the hash of its name, total and retirement, as little-endian words. */
static void digest_part(const struct counter *counter, int64_t total,
                        const struct retirement *retirement,
                        void (*hash)(struct hash *, const void *, size_t),
                        uint64_t part[HASH_BYTES / 8])
{
    uint8_t bytes[1 + NAME_MAX_BYTES + 8 + 4 + 1 + 8];
    struct writer w = writer_of(bytes, sizeof bytes);
    struct hash hashed;
    struct reader r;

    write_u8(&w, counter->item.key_len);
    write_bytes(&w, counter->item.key, counter->item.key_len);
    write_u64(&w, (uint64_t)total);
    if (retirement->generation > 0) {
        write_u32(&w, retirement->generation);
        write_u8(&w, retirement->hidden);
        write_u64(&w, (uint64_t)retirement->total);
    }
    hash(&hashed, bytes, w.len);
    r = reader_of(hashed.byte, sizeof hashed.byte);
    for (size_t i = 0; i < HASH_BYTES / 8; i++)
        part[i] = read_u64(&r);
}

/* sum += part, or sum -= part: 256 bits. */
static void digest_add(uint64_t sum[HASH_BYTES / 8], const uint64_t part[HASH_BYTES / 8],
                       bool minus)
{
    uint64_t carry = minus;

    for (size_t i = 0; i < HASH_BYTES / 8; i++) {
        uint64_t term = minus ? ~part[i] : part[i], with = term + carry;

        carry = with < carry;
        sum[i] += with;
        carry += sum[i] < with;
    }
}

static void counter_digest(void *state, void (*hash)(struct hash *, const void *, size_t),
                           struct hash *digest)
{
    struct counters *c = state;
    uint64_t part[HASH_BYTES / 8];
    struct writer w = writer_of(digest->byte, sizeof digest->byte);

    for (struct counter *counter; (counter = c->dirty) != NULL;) {
        if (counter->digested) {
            digest_part(counter, counter->digested_total, &counter->digested_retirement,
                        hash, part);
            digest_add(c->digest, part, true);
        }
        digest_part(counter, counter->item.total, &counter->item.retirement, hash, part);
        digest_add(c->digest, part, false);
        counter->digested_total = counter->item.total;
        counter->digested_retirement = counter->item.retirement;
        counter->digested = true;
        counter->dirty = false;
        c->dirty = counter->dirty_next;
    }
    for (size_t i = 0; i < HASH_BYTES / 8; i++)
        write_u64(&w, c->digest[i]);
}

static size_t counter_encoded_max(void *state)
{
    const struct counters *c = state;

    return 10 + c->count * (1 + NAME_MAX_BYTES + 10 + 5 + 1 + 10);
}

static void encode_retirement(struct writer *w, const struct retirement *retirement)
{
    write_varint(w, retirement->generation);
    if (retirement->generation == 0)
        return;
    write_u8(w, retirement->hidden);
    write_svarint(w, retirement->total);
}

static void decode_retirement(struct reader *r, struct retirement *retirement)
{
    uint64_t generation = read_varint(r);

    if (generation > (uint64_t)amount_max)
        r->bad = true;
    if (r->bad || generation == 0)
        return;
    retirement->generation = (uint32_t)generation;
    retirement->hidden = read_bool(r);
    retirement->total = read_svarint(r);
}

static void counter_encode(void *state, struct writer *w)
{
    size_t count, applied = 0;
    struct item **list = counter_sorted(state, &count);

    if (list == NULL) {
        w->full = true;
        return;
    }
    for (size_t i = 0; i < count; i++)
        applied += list[i]->applied;
    write_varint(w, applied);
    for (size_t i = 0; i < count; i++) {
        if (!list[i]->applied)
            continue;
        write_u8(w, list[i]->key_len);
        write_bytes(w, list[i]->key, list[i]->key_len);
        write_svarint(w, list[i]->total);
        encode_retirement(w, &list[i]->retirement);
    }
}

static enum err counter_decode(void *state, struct reader *r, unsigned version)
{
    struct counters *c = state;
    struct counter *counter, *last = NULL;
    uint64_t count;

    if (version > COUNTER_VERSION)
        return ERR_VERSION;
    if (version == 0)
        return ERR_MALFORMED;
    count = read_varint(r);
    for (uint64_t i = 0; i < count && !r->bad; i++) {
        uint8_t len = read_u8(r);
        const char *name = (const char *)read_bytes(r, len);
        int64_t total = read_svarint(r);
        struct retirement retirement = {.generation = 0};

        if (version >= VERSION_RETIREMENT)
            decode_retirement(r, &retirement);
        if (r->bad || !name_valid(name, len))
            return ERR_MALFORMED;
        counter = counter_add(c, name, len);
        if (counter == NULL)
            return ERR_MEMORY;
        counter->item.total = total;
        counter->item.retirement = retirement;
        counter->item.applied = true;
        touch(c, counter);
        if (last != NULL && item_order(&last->item, &counter->item) >= 0)
            return ERR_MALFORMED;
        last = counter;
    }
    c->sorted_count = c->count;
    return r->bad ? ERR_MALFORMED : ERR_OK;
}

const struct component counter_component = {
    .number = COUNTER_NUMBER,
    .name = "counter",
    .version = COUNTER_VERSION,
    .create = counter_create,
    .destroy = counter_destroy,
    .check = counter_check,
    .admit = counter_admit,
    .apply = counter_apply,
    .find = counter_find,
    .count = counter_count,
    .sorted = counter_sorted,
    .digest = counter_digest,
    .encoded_max = counter_encoded_max,
    .encode = counter_encode,
    .decode = counter_decode,
};

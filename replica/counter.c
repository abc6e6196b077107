/* replica/counter.c: the counter component: names and 64-bit totals, to which ops only add; and whether each is
 * retired. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A full table must not end the process behind our back: no memory is reported. */
#define HASH_NONFATAL_OOM 1
#include <bsd/sys/tree.h>
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

/* What is encoded of a counter. */
struct value {
    int64_t total;
    struct retirement retirement;
    bool applied;
};

struct counter {
    struct item item; /* first, so that an item's address is its counter's */
    UT_hash_handle hh;
    RB_ENTRY(counter) order;
    /* As of the snapshot under way, where it was changed before that came to it; else NULL. */
    struct value *before;
    struct counter *dirty_next; /* of those that changed since the last digest */
    int64_t digested_total;     /* as the digest has it */
    struct retirement digested_retirement;
    bool dirty, digested;
    char name[];
};

RB_HEAD(order, counter);

struct counters {
    struct counter *table; /* by name */
    /* In the order of their names. Kept at every new name: sorting a million of them would keep callers waiting. */
    struct order order;
    size_t count, applied, admitted_max;
    /* The snapshot: what it comes to next, NULL: it is through; its items, and which of them comes next. */
    struct counter *next;
    size_t snapshot_items;
    uint32_t rank;
    bool snapshot, counted; /* is one under way; has it said how many there are */
    struct counter *dirty;
    size_t dirty_count;
    uint64_t digest[HASH_BYTES / 8]; /* the sum of all counters' hashes, modulo 2^256 */
};

static int name_order(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

    return order != 0 ? order : (int)a_len - (int)b_len;
}

static int counter_order(const struct counter *a, const struct counter *b)
{
    return name_order(a->name, a->item.key_len, b->name, b->item.key_len);
}

/* As RB_GENERATE_STATIC(), which says __unused: libbsd's, and not known to a program of glibc's. */
#define ORDER_ATTRIBUTES __attribute__((unused)) static
RB_PROTOTYPE_INTERNAL(order, counter, order, counter_order, ORDER_ATTRIBUTES)
RB_GENERATE_INTERNAL(order, counter, order, counter_order, ORDER_ATTRIBUTES)

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

    struct counter *counter = c->table, *next;

    HASH_CLEAR(hh, c->table);
    for (; counter != NULL; counter = next) {
        next = counter->hh.next;
        free(counter->before);
        free(counter);
    }
    free(c);
}

static struct counter *lookup(const struct counters *c, const char *name, size_t len)
{
    struct counter *found;

    HASH_FIND(hh, c->table, name, len, found);
    return found;
}

static struct counter *counter_add(struct counters *c, const char *name, uint8_t len)
{
    struct counter *new;

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
    RB_INSERT(order, &c->order, new);
    c->count++;
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

static struct value value_of(const struct counter *counter)
{
    return (struct value){.total = counter->item.total,
                          .retirement = counter->item.retirement,
                          .applied = counter->item.applied};
}

static void touch(struct counters *c, struct counter *counter)
{
    if (counter->dirty)
        return;
    counter->dirty = true;
    counter->dirty_next = c->dirty;
    c->dirty = counter;
    c->dirty_count++;
}

/* Before a counter is changed: a snapshot that is still to come to it takes it as it is now. */
static bool keep_for_snapshot(const struct counters *c, struct counter *counter)
{
    if (!c->snapshot || counter->before != NULL || c->next == NULL ||
        counter_order(counter, c->next) < 0 ||
        (MUTANT(encode_later) && counter->item.applied))
        return true;
    counter->before = malloc(sizeof *counter->before);
    if (counter->before == NULL)
        return false;
    *counter->before = value_of(counter);
    return true;
}

static void set_applied(struct counters *c, struct counter *counter)
{
    c->applied += !counter->item.applied;
    counter->item.applied = true;
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
    if (counter == NULL || !keep_for_snapshot(c, counter))
        return NULL;
    /* Unsigned: wrapping is at least the same on every node. */
    counter->item.total =
        (int64_t)((uint64_t)counter->item.total + (uint64_t)op_amount(op));
    if (op->kind != OP_ADD)
        retire(&counter->item.retirement, op);
    set_applied(c, counter);
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

static size_t counter_count(const void *state)
{
    return ((const struct counters *)state)->count;
}

static struct item *counter_first_from(void *state, const char *key, size_t key_len,
                                       bool past)
{
    struct counters *c = state;
    struct counter *at = RB_ROOT(&c->order), *found = NULL;

    while (at != NULL) {
        int order = name_order(at->name, at->item.key_len, key, key_len);

        if (order > 0 || (order == 0 && !past)) {
            found = at;
            at = RB_LEFT(at, order);
        } else
            at = RB_RIGHT(at, order);
    }
    return found != NULL ? &found->item : NULL;
}

static struct item *counter_next(const struct item *item)
{
    /* const is the looker's; the macro has no use for the tree. */
    struct counter *next = RB_NEXT(order, NULL, (struct counter *)(uintptr_t)item);

    return next != NULL ? &next->item : NULL;
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

static void digest_one(struct counters *c, struct counter *counter,
                       void (*hash)(struct hash *, const void *, size_t))
{
    uint64_t part[HASH_BYTES / 8];

    if (counter->digested) {
        digest_part(counter, counter->digested_total, &counter->digested_retirement, hash,
                    part);
        digest_add(c->digest, part, true);
    }
    digest_part(counter, counter->item.total, &counter->item.retirement, hash, part);
    digest_add(c->digest, part, false);
    counter->digested_total = counter->item.total;
    counter->digested_retirement = counter->item.retirement;
    counter->digested = true;
    counter->dirty = false;
}

static void counter_prepare_digest(void *state,
                                   void (*hash)(struct hash *, const void *, size_t),
                                   size_t left)
{
    struct counters *c = state;

    for (; c->dirty_count > left; c->dirty_count--) {
        struct counter *counter = c->dirty;

        c->dirty = counter->dirty_next;
        digest_one(c, counter, hash);
    }
}

static void counter_digest(void *state, void (*hash)(struct hash *, const void *, size_t),
                           struct hash *digest)
{
    struct counters *c = state;
    struct writer w = writer_of(digest->byte, sizeof digest->byte);

    counter_prepare_digest(c, hash, 0);
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

static void encode_counter(struct writer *w, const struct counter *counter,
                           const struct value *value)
{
    write_u8(w, counter->item.key_len);
    write_bytes(w, counter->item.key, counter->item.key_len);
    write_svarint(w, value->total);
    encode_retirement(w, &value->retirement);
}

static void counter_encode(void *state, struct writer *w)
{
    struct counters *c = state;
    struct counter *counter;

    write_varint(w, c->applied);
    RB_FOREACH(counter, order, &c->order)
    {
        struct value value = value_of(counter);

        if (value.applied)
            encode_counter(w, counter, &value);
    }
}

static void counter_snapshot_begin(void *state)
{
    struct counters *c = state;

    assert(!c->snapshot);
    c->next = RB_MIN(order, &c->order);
    c->snapshot_items = c->applied;
    c->rank = 0;
    c->counted = false;
    c->snapshot = true;
}

/* The next one, as it was when the snapshot began. */
static void snapshot_one(struct counters *c, struct writer *w)
{
    struct counter *counter = c->next;
    struct value value = counter->before != NULL ? *counter->before : value_of(counter);

    if (value.applied) {
        encode_counter(w, counter, &value);
        counter->item.rank = c->rank++;
    }
    free(counter->before);
    counter->before = NULL;
    c->next = RB_NEXT(order, &c->order, counter);
}

static bool counter_snapshot_step(void *state, struct writer *w, size_t items)
{
    struct counters *c = state;

    assert(c->snapshot);
    if (!c->counted)
        write_varint(w, c->snapshot_items);
    c->counted = true;
    for (; c->next != NULL && items > 0; items--)
        snapshot_one(c, w);
    if (c->next != NULL)
        return false;
    assert(c->rank == c->snapshot_items);
    c->snapshot = false;
    return true;
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
        set_applied(c, counter);
        touch(c, counter);
        if (last != NULL && counter_order(last, counter) >= 0)
            return ERR_MALFORMED;
        last = counter;
    }
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
    .first_from = counter_first_from,
    .next = counter_next,
    .prepare_digest = counter_prepare_digest,
    .digest = counter_digest,
    .encoded_max = counter_encoded_max,
    .encode = counter_encode,
    .snapshot_begin = counter_snapshot_begin,
    .snapshot_step = counter_snapshot_step,
    .decode = counter_decode,
};

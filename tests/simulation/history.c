#include "tests/simulation/history.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "replica/block.h"
#include "tests/simulation/broken.h"
#include "tests/simulation/idmap.h"

/* With real signatures one block in so many is verified, besides each stream's first. */
enum { VERIFY_EVERY = 8 };

struct pending {
    struct id id;
    uint32_t counter;
    int64_t value, number;
};

struct history {
    const struct crypto *crypto;
    struct kept_frame *archive;

    struct kept_frame **frames;
    size_t *first_count; /* of each frame */
    size_t frame_count, frame_size;
    struct counted *counts;
    size_t count_count, count_size;
    struct own_stream *streams;
    size_t stream_count, stream_size;
    struct history_total totals[HISTORY_COUNTERS];
    struct idmap ids;  /* to the last count with that id */
    struct idmap ever; /* (stream, number) to the hash, of all blocks ever written */
    struct id cluster;

    struct kept_frame **tried;
    size_t tried_count, tried_size;

    bool live;        /* recovered, and not dead */
    uint64_t may_cut; /* LSN */
    struct public_key key;
    struct id stream;
    size_t capacity, items_max;
    struct pending *pending;
    size_t pending_count, pending_size;
    struct idmap pending_ids;
    int64_t reserved[HISTORY_COUNTERS];
    size_t reservations[HISTORY_COUNTERS];
};

struct history_copy {
    size_t count;
    struct kept_frame *frames[];
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

struct history *history_new(const struct crypto *crypto)
{
    struct history *h = must(calloc(1, sizeof *h));

    h->crypto = crypto;
    return h;
}

void history_free(struct history *h)
{
    while (h->archive != NULL) {
        struct kept_frame *older = h->archive->older;

        free(h->archive);
        h->archive = older;
    }
    idmap_clear(&h->ids);
    idmap_clear(&h->ever);
    idmap_clear(&h->pending_ids);
    free(h->frames);
    free(h->first_count);
    free(h->counts);
    free(h->streams);
    free(h->tried);
    free(h->pending);
    free(h);
}

static void pending_clear(struct history *h)
{
    h->pending_count = 0;
    idmap_clear(&h->pending_ids);
    memset(h->reserved, 0, sizeof h->reserved);
    memset(h->reservations, 0, sizeof h->reservations);
}

void history_run(struct history *h, const struct public_key *key, const struct id *stream,
                 size_t capacity, size_t items_max)
{
    h->live = false;
    h->may_cut = UINT64_MAX;
    h->key = *key;
    h->stream = *stream;
    h->capacity = capacity;
    h->items_max = items_max;
    pending_clear(h);
}

static void forget_all(struct history *h)
{
    h->frame_count = h->count_count = h->stream_count = 0;
    memset(h->totals, 0, sizeof h->totals);
    idmap_clear(&h->ids);
    h->tried_count = 0;
    h->live = false;
    pending_clear(h);
}

void history_may_cut(struct history *h, uint64_t lsn)
{
    h->may_cut = lsn;
}

void history_wipe(struct history *h)
{
    forget_all(h);
}

uint32_t history_counter(const char *name, size_t len)
{
    if (len < 3 || name[0] != 'c' || name[1] < '0' || name[1] > '9' || name[2] < '0' ||
        name[2] > '9')
        return HISTORY_COUNTERS;
    return (uint32_t)(name[1] - '0') * 10 + (uint32_t)(name[2] - '0');
}

/* ---- looking ---- */

size_t history_frames(const struct history *h)
{
    return h->frame_count;
}

const struct kept_frame *history_frame(const struct history *h, size_t index)
{
    return h->frames[index];
}

uint64_t history_end(const struct history *h)
{
    return h->frame_count > 0 ? h->frames[h->frame_count - 1]->end : 0;
}

size_t history_counts(const struct history *h)
{
    return h->count_count;
}

const struct counted *history_count_at(const struct history *h, size_t index)
{
    return &h->counts[index];
}

const struct history_total *history_totals(const struct history *h)
{
    return h->totals;
}

size_t history_streams(const struct history *h)
{
    return h->stream_count;
}

const struct own_stream *history_stream(const struct history *h, size_t index)
{
    return &h->streams[index];
}

size_t history_tried(const struct history *h)
{
    return h->tried_count;
}

/* ---- blocks ---- */

static struct kept_frame *keep(struct history *h, const struct format_frame *from)
{
    struct kept_frame *f = must(malloc(sizeof *f + from->payload_len));

    *f = (struct kept_frame){.lsn = from->lsn,
                             .end = from->lsn + from->len,
                             .durable = from->durable,
                             .check = from->check,
                             .previous = from->previous,
                             .payload_len = from->payload_len,
                             .older = h->archive};
    memcpy(f->payload, from->payload, from->payload_len);
    h->archive = f;
    return f;
}

static void decode(const struct history *h, const struct kept_frame *f,
                   struct block *block)
{
    enum err err = block_decode(f->payload, f->payload_len, h->crypto, block);

    if (err != ERR_OK)
        broken("the block at LSN %" PRIu64 " cannot be read: %s", f->lsn, err_name(err));
}

static void check_first_block(struct history *h, const struct block *b)
{
    const struct own_stream *last =
        h->stream_count > 0 ? &h->streams[h->stream_count - 1] : NULL;
    struct stream_end before = {0};

    for (size_t i = 0; i < h->stream_count; i++)
        if (id_equal(&h->streams[i].id, &b->stream))
            broken("a stream begins twice");
    if (memcmp(&b->origin.key, &h->key, sizeof h->key) != 0)
        broken("a stream names another key");
    if (last != NULL)
        before = last->end;
    if (!id_equal(&b->origin.before.position.stream, &before.position.stream) ||
        b->origin.before.position.number != before.position.number ||
        !hash_equal(&b->origin.before.hash, &before.hash))
        broken("a stream's first block does not name the end of the one before it");
    if (last != NULL && !id_equal(&h->cluster, &b->origin.cluster))
        broken("the cluster's id changed");
}

static void check_chain(struct history *h, const struct block *b, bool verify)
{
    struct own_stream *s;

    if (b->number == 1) {
        if (verify)
            check_first_block(h, b);
        h->cluster = b->origin.cluster;
        h->streams =
            room(h->streams, h->stream_count, &h->stream_size, sizeof *h->streams);
        h->streams[h->stream_count++] =
            (struct own_stream){.id = b->stream,
                                .first = h->frame_count,
                                .end = {.position = {.stream = b->stream}}};
    }
    s = h->stream_count > 0 ? &h->streams[h->stream_count - 1] : NULL;
    if (s == NULL || !id_equal(&s->id, &b->stream) ||
        b->number != s->end.position.number + 1 ||
        !hash_equal(&b->previous, &s->end.hash))
        broken("block %" PRIu64 " does not continue its stream", b->number);
    s->end.position.number = b->number;
    s->end.hash = b->hash;
    if (verify &&
        (h->crypto != &crypto_real || b->number == 1 || b->number % VERIFY_EVERY == 0) &&
        !block_signed(b, h->crypto, &h->key))
        broken("the signature of block %" PRIu64 " is wrong", b->number);
}

static const struct pending *pending_find(const struct history *h, const struct id *id)
{
    int64_t index = idmap_get(&h->pending_ids, id);

    return index < 0 ? NULL : &h->pending[index];
}

/* A count that stands in a block of this run must have been asked for, and once. */
static void check_asked(struct history *h, const struct op *op, uint32_t counter)
{
    const struct pending *p = pending_find(h, &op->id);

    if (p == NULL)
        broken("a count stands in a block that was counted before, or nobody asked for");
    if (p->counter != counter || p->value != op->value)
        broken("a count stands in a block with another amount or counter than asked for");
    if (p->number != op->before + op->value)
        broken("number %" PRId64 " stands in a block as %" PRId64, p->number,
               op->before + op->value);
}

static void push_op(struct history *h, const struct op *op, bool live)
{
    uint32_t counter = history_counter(op->key, op->key_len);
    struct history_total *total = &h->totals[counter];
    int64_t before = idmap_get(&h->ids, &op->id);

    if (counter >= HISTORY_COUNTERS)
        broken("a counter stands in a block that nobody asked for");
    if (live)
        check_asked(h, op, counter);
    if (op->before != total->total)
        broken("a block says that counter %u stood at %" PRId64
               " before it, and it was %" PRId64,
               counter, op->before, total->total);
    total->total += op->value;
    total->known = true;
    h->counts = room(h->counts, h->count_count, &h->count_size, sizeof *h->counts);
    h->counts[h->count_count] = (struct counted){.id = op->id,
                                                 .value = op->value,
                                                 .number = total->total,
                                                 .before = before,
                                                 .counter = counter,
                                                 .frame = (uint32_t)h->frame_count};
    idmap_set(&h->ids, &op->id, h->count_count++);
}

/* One more durable block. live: written by the process that runs. */
static void push(struct history *h, struct kept_frame *f, bool live, bool verify)
{
    struct block_cursor cursor;
    struct block block;
    struct op op;
    size_t size = h->frame_size;

    decode(h, f, &block);
    check_chain(h, &block, verify);
    h->frames = room(h->frames, h->frame_count, &h->frame_size, sizeof(void *));
    h->first_count = room(h->first_count, h->frame_count, &size, sizeof *h->first_count);
    h->first_count[h->frame_count] = h->count_count;
    cursor = block_ops(&block);
    while (block_next_op(&cursor, &op))
        push_op(h, &op, live);
    h->frames[h->frame_count++] = f;
}

/* ---- the log ---- */

/* The check of the frame before lsn, among what is durable and what was tried before it
 * in this batch. */
static uint64_t check_before(const struct history *h)
{
    if (h->tried_count > 0)
        return h->tried[h->tried_count - 1]->check;
    return h->frame_count > 0 ? h->frames[h->frame_count - 1]->check : 0;
}

/* No block is ever written twice under one stream and number with different contents. */
static void check_ever(struct history *h, const struct block *b)
{
    uint64_t mixed, hash;
    struct id key = b->stream;
    int64_t known;

    memcpy(&mixed, key.byte + 8, sizeof mixed);
    mixed ^= b->number;
    memcpy(key.byte + 8, &mixed, sizeof mixed);
    memcpy(&hash, b->hash.byte, sizeof hash);
    hash >>= 2;
    known = idmap_get(&h->ever, &key);
    if (known >= 0 && (uint64_t)known != hash)
        broken(
            "two different blocks were written under one stream and the number %" PRIu64,
            b->number);
    idmap_set(&h->ever, &key, hash);
}

static void tries(struct history *h, const struct format_frame *f, uint64_t base)
{
    struct block block;
    struct kept_frame *kept;

    if (f->previous != check_before(h))
        broken("the frame at LSN %" PRIu64 " does not follow the one before it", f->lsn);
    if (f->durable > history_end(h) && f->durable != base + FORMAT_SEGMENT_HEADER)
        broken("the frame at LSN %" PRIu64 " says that %" PRIu64
               " is durable, and it ends at %" PRIu64,
               f->lsn, f->durable, history_end(h));
    kept = keep(h, f);
    decode(h, kept, &block);
    if (!id_equal(&block.stream, &h->stream))
        broken("a block is not of this run's stream");
    check_ever(h, &block);
    h->tried = room(h->tried, h->tried_count, &h->tried_size, sizeof(void *));
    h->tried[h->tried_count++] = kept;
}

/* Recovery writes only what it read: a frame that somebody wrote here before. */
static void check_rewritten(const struct history *h, const struct format_frame *f)
{
    for (size_t i = 0; i < h->tried_count; i++)
        if (h->tried[i]->lsn == f->lsn && h->tried[i]->check == f->check)
            return;
    broken("the recovery writes a frame at LSN %" PRIu64 " that nobody wrote before",
           f->lsn);
}

static void check_same(const struct simfile *file, uint64_t offset, const void *bytes,
                       size_t len)
{
    uint8_t *now = must(malloc(len));

    simfile_read(file, offset, now, len);
    if (memcmp(now, bytes, len) != 0)
        broken("%s: durable bytes from offset %" PRIu64 " on are overwritten",
               simfile_name(file), offset);
    free(now);
}

static bool segment_of(const struct simfile *file, struct format_segment *segment)
{
    uint8_t header[FORMAT_SEGMENT_HEADER];
    size_t len = strlen(simfile_name(file));

    if (len < 4 || strcmp(simfile_name(file) + len - 4, ".log") != 0)
        return false;
    simfile_read(file, 0, header, sizeof header);
    return format_segment(header, segment);
}

void history_writes(struct history *h, const struct simfile *file, uint64_t offset,
                    const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    struct format_segment segment;
    struct format_frame f;
    uint64_t lsn, end = history_end(h);
    size_t n;

    if (!segment_of(file, &segment) || offset < FORMAT_SEGMENT_HEADER)
        broken("%s is written to at %" PRIu64, simfile_name(file), offset);
    lsn = segment.base + offset;
    if (lsn < end) {
        n = end - lsn < len ? (size_t)(end - lsn) : len;
        if (lsn + n <= h->may_cut)
            check_same(file, offset, at, n);
        at += n;
        len -= n;
        lsn += n;
    }
    if (h->live)
        h->tried_count = 0;
    for (; format_frame(at, len, lsn, &f); at += f.len, len -= f.len, lsn += f.len) {
        if (h->live)
            tries(h, &f, segment.base);
        else
            check_rewritten(h, &f);
    }
    if (h->live && (len > 0 || h->tried_count == 0))
        broken("%s: what is written at LSN %" PRIu64 " is no frame", simfile_name(file),
               lsn);
}

static bool is_durable(const struct simfile *file, const struct format_segment *segment,
                       const struct kept_frame *f)
{
    size_t len = (size_t)(f->end - f->lsn);
    struct format_frame found;
    uint8_t *bytes;
    bool same;

    if (f->lsn < segment->base || f->end > segment->base + segment->size)
        return false;
    bytes = must(malloc(len));
    same = simfile_durable(file, f->lsn - segment->base, bytes, len) &&
           format_frame(bytes, len, f->lsn, &found) && found.check == f->check;
    free(bytes);
    return same;
}

void history_synced(struct history *h, const struct simfile *file)
{
    struct format_segment segment;
    size_t n = 0;

    if (!segment_of(file, &segment))
        return;
    while (n < h->tried_count && is_durable(file, &segment, h->tried[n]))
        push(h, h->tried[n++], h->live, true);
    if (n == 0)
        return;
    memmove(h->tried, h->tried + n, (h->tried_count - n) * sizeof(void *));
    h->tried_count -= n;
    if (!h->live)
        return;
    if (h->count_count - h->first_count[h->frame_count - n] != h->pending_count)
        broken("not all counts that were gathered stand in what was written");
    pending_clear(h);
}

void history_recovered(struct history *h, uint64_t lsn)
{
    if (lsn != history_end(h) && (h->frame_count > 0 || lsn > FORMAT_SEGMENT_HEADER)) {
        for (size_t i = 0; i < h->tried_count; i++)
            if (h->tried[i]->end == lsn)
                broken("the log is relied on up to LSN %" PRIu64
                       ", and is not durable from %" PRIu64 " on",
                       lsn, history_end(h));
        broken("the recovered log ends at LSN %" PRIu64 ", and must end at %" PRIu64, lsn,
               history_end(h));
    }
    h->tried_count = 0;
    h->live = true;
}

static void rebuild(struct history *h, struct kept_frame *const *frames, size_t count)
{
    forget_all(h);
    for (size_t i = 0; i < count; i++)
        push(h, frames[i], false, false);
}

struct history_copy *history_copy(const struct history *h)
{
    size_t bytes = h->frame_count * sizeof(void *);
    struct history_copy *copy = must(malloc(sizeof *copy + bytes));

    copy->count = h->frame_count;
    if (bytes > 0)
        memcpy(copy->frames, h->frames, bytes);
    return copy;
}

void history_restore(struct history *h, const struct history_copy *copy)
{
    rebuild(h, copy->frames, copy->count);
}

size_t history_copy_frames(const struct history_copy *copy)
{
    return copy->count;
}

void history_cut(struct history *h, size_t frames)
{
    struct history_copy *copy = history_copy(h);

    rebuild(h, copy->frames, frames);
    free(copy);
}

/* ---- counts ---- */

/* The frame of the index-th count, those gathered being of the next frame; -1 for -1. */
static int64_t frame_of(const struct history *h, int64_t index)
{
    if (index < 0)
        return -1;
    return (size_t)index < h->count_count ? (int64_t)h->counts[index].frame
                                          : (int64_t)h->frame_count;
}

int64_t history_reach(const struct history *h)
{
    return frame_of(h, (int64_t)(h->count_count + h->pending_count) -
                           (int64_t)h->capacity - 1);
}

/* The frame that a worker had last heard of; -1: before all; -2: this log does not hold
 * it. */
static int64_t heard_frame(const struct history *h, const struct position *heard)
{
    if (id_is_zero(&heard->stream))
        return -1;
    for (size_t i = h->stream_count; i > 0; i--) {
        const struct own_stream *s = &h->streams[i - 1];

        if (!id_equal(&s->id, &heard->stream))
            continue;
        return heard->number > s->end.position.number
                   ? -2
                   : (int64_t)(s->first + heard->number) - 1;
    }
    return -2;
}

static size_t names_known(const struct history *h)
{
    size_t count = 0;

    for (size_t i = 0; i < HISTORY_COUNTERS; i++)
        count += h->totals[i].known || h->reservations[i] > 0;
    return count;
}

/* What must happen where the id is not known. */
static void expect_new(const struct history *h, struct expected *e)
{
    const struct msg_count_req *req = &e->req;
    int64_t reach = history_reach(h), heard = heard_frame(h, &req->heard);
    uint32_t counter = history_counter(req->name, req->name_len);

    e->may_be_unknown = heard < reach;
    if (e->may_be_unknown)
        return;
    if (counter >= HISTORY_COUNTERS || !name_valid(req->name, req->name_len)) {
        e->refusal = STATUS_ERROR;
    } else if (!h->totals[counter].known && h->reservations[counter] == 0 &&
               names_known(h) >= h->items_max) {
        e->refusal = STATUS_DENIED;
    } else {
        e->may_count = true;
        e->number = h->totals[counter].total + h->reserved[counter] + req->amount;
    }
}

static void expect_known(struct expected *e, uint32_t counter, int64_t value)
{
    if (counter == history_counter(e->req.name, e->req.name_len) &&
        value == e->req.amount)
        e->may_know = true;
    else
        e->refusal = STATUS_ERROR;
}

void history_expect(struct history *h, const struct msg_count_req *req,
                    struct expected *e)
{
    const struct pending *p = pending_find(h, &req->id);
    int64_t index = idmap_get(&h->ids, &req->id), frame, reach = history_reach(h);

    *e = (struct expected){.req = *req};
    if (p != NULL) {
        expect_known(e, p->counter, p->value);
        return;
    }
    frame = frame_of(h, index);
    if (index < 0 || frame <= reach)
        expect_new(h, e);
    /* Of the block at the reach itself, some may be remembered. */
    if (index >= 0 && frame >= reach)
        expect_known(e, h->counts[index].counter, h->counts[index].value);
}

void history_gathers(struct history *h, const struct expected *e)
{
    uint32_t counter = history_counter(e->req.name, e->req.name_len);

    if (pending_find(h, &e->req.id) != NULL)
        return;
    if (!e->may_count)
        broken("a count is taken that must be %s",
               e->may_know ? "answered from memory" : "refused");
    h->pending = room(h->pending, h->pending_count, &h->pending_size, sizeof *h->pending);
    h->pending[h->pending_count] = (struct pending){
        .id = e->req.id, .counter = counter, .value = e->req.amount, .number = e->number};
    idmap_set(&h->pending_ids, &e->req.id, h->pending_count++);
    h->reserved[counter] += e->req.amount;
    h->reservations[counter]++;
}

bool history_has(const struct history *h, const struct id *id, size_t frame,
                 int64_t value, int64_t number)
{
    for (int64_t i = idmap_get(&h->ids, id); i >= 0; i = h->counts[i].before)
        if (h->counts[i].frame == frame && h->counts[i].value == value &&
            h->counts[i].number == number)
            return true;
    return false;
}

/* Does this number of this request stand in the log? */
static bool stands(const struct history *h, const struct msg_count_req *req,
                   int64_t number)
{
    uint32_t counter = history_counter(req->name, req->name_len);

    for (int64_t i = idmap_get(&h->ids, &req->id); i >= 0; i = h->counts[i].before)
        if (h->counts[i].counter == counter && h->counts[i].value == req->amount &&
            h->counts[i].number == number)
            return true;
    return false;
}

static void answered_final(const struct history *h, const struct expected *e,
                           const struct msg_count_rep *rep)
{
    uint32_t counter = history_counter(e->req.name, e->req.name_len);

    if (!e->may_know && !e->may_count)
        broken("a count is answered with number %" PRId64
               " that must be refused or unknown",
               rep->number);
    if (!stands(h, &e->req, rep->number))
        broken("number %" PRId64 " of counter %u is answered and is not on the disk",
               rep->number, counter);
    if (rep->total != h->totals[counter].total)
        broken("the total of counter %u is answered as %" PRId64 ", and is %" PRId64,
               counter, rep->total, h->totals[counter].total);
}

void history_answered(struct history *h, const struct expected *e,
                      const struct msg_count_rep *rep, bool has_room)
{
    if (!id_equal(&rep->id, &e->req.id))
        broken("an answer has another id than its question");
    switch (rep->status) {
    case STATUS_FINAL:
        answered_final(h, e, rep);
        return;
    case STATUS_UNKNOWN:
        if (!e->may_be_unknown)
            broken("UNKNOWN is answered, and it can be told");
        return;
    case STATUS_UNAVAILABLE:
        if (!e->may_count && e->refusal == 0)
            broken("UNAVAILABLE is answered to what is known or cannot be told");
        if (has_room)
            broken("UNAVAILABLE is answered, and the log has room");
        return;
    case STATUS_ERROR:
    case STATUS_DENIED:
        if (e->refusal != rep->status)
            broken("a good count is refused with status %d", (int)rep->status);
        return;
    case STATUS_PROVISIONAL:
        break;
    }
    broken("status %d is answered", (int)rep->status);
}

void history_got(const struct history *h, const struct msg_get_req *req,
                 const struct msg_get_rep *rep)
{
    uint32_t counter = history_counter(req->name, req->name_len);

    if (rep->status != STATUS_FINAL || rep->total != h->totals[counter].total)
        broken("a get of counter %u is answered with %" PRId64
               ", and the disk has %" PRId64,
               counter, rep->total, h->totals[counter].total);
}

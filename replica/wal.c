#include "replica/wal.h"

#include <assert.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/byte.h"
#include "common/log.h"
#include "replica/mutant.h"

static const uint8_t segment_magic[8] = {'T', 'A', 'L', 'L', 'Y', 'L', 'O', 'G'};
static const uint32_t frame_magic = 0x46594c54; /* "TLYF" */

enum {
    FRAME_MAX = WAL_FRAME_HEADER + BLOCK_MAX,
    FRAME_CHECKED = 8, /* the checksum covers the frame from this byte on */
    WINDOW = 1024 * 1024,
};
static_assert((int)FRAME_MAX + (int)WAL_SEGMENT_HEADER <= (int)WAL_SEGMENT_MIN,
              "a block fits a segment");
static_assert((int)FRAME_MAX <= (int)WAL_BATCH_MAX, "a block fits a batch");

struct segments {
    struct wal_segment *list; /* in order, without gaps */
    size_t count, size;
};

struct wal {
    struct disk *disk;
    uint64_t segment_bytes;
    struct segments segments;
    size_t
        current; /* index of the segment that is written; == segments.count: none yet */
    struct disk_file *file;
    struct wal_mark durable, appended;
    uint8_t making[WAL_SEGMENT_HEADER];
    bool failed;
    size_t batch_bytes; /* appended, not yet written */
    uint8_t batch[WAL_BATCH_MAX];
};

/* SipHash-2-4, keyed by the place: a frame copied or left over elsewhere does not pass. It guards
 * against accidents; against forgery blocks are signed. */
static uint64_t checksum(uint64_t lsn, const void *bytes, size_t len)
{
    uint8_t key[crypto_shorthash_KEYBYTES] = "tally wal";
    uint8_t out[crypto_shorthash_BYTES];
    struct writer w = writer_of(key + 8, 8);
    struct reader r;

    write_u64(&w, lsn);
    crypto_shorthash(out, bytes, len, key);
    r = reader_of(out, sizeof out);
    return read_u64(&r);
}

static void segment_name(uint64_t number, char name[DISK_NAME_MAX + 1])
{
    snprintf(name, DISK_NAME_MAX + 1, "%016" PRIu64 ".log", number);
}

bool wal_segment_number(const char *name, uint64_t *number)
{
    char expected[DISK_NAME_MAX + 1];

    if (sscanf(name, "%16" SCNu64, number) != 1)
        return false;
    segment_name(*number, expected);
    return strcmp(name, expected) == 0;
}

static void segment_header(const struct wal_segment *segment,
                           uint8_t bytes[WAL_SEGMENT_HEADER])
{
    struct writer w = writer_of(bytes, WAL_SEGMENT_HEADER);

    memset(bytes, 0, WAL_SEGMENT_HEADER);
    write_bytes(&w, segment_magic, sizeof segment_magic);
    write_u32(&w, WAL_FORMAT);
    write_u32(&w, 0);
    write_u64(&w, segment->number);
    write_u64(&w, segment->base);
    write_u64(&w, segment->size);
    write_u64(&w, checksum(segment->base, bytes, w.len));
}

enum err wal_segment_parse(const uint8_t bytes[WAL_SEGMENT_HEADER], uint64_t number,
                           struct wal_segment *segment)
{
    struct reader r = reader_of(bytes, WAL_SEGMENT_HEADER);
    const uint8_t *magic = read_bytes(&r, sizeof segment_magic);
    uint32_t format = read_u32(&r);
    uint64_t check;
    size_t checked;

    if (memcmp(magic, segment_magic, sizeof segment_magic) != 0)
        return ERR_CORRUPT;
    if (format > WAL_FORMAT)
        return ERR_VERSION;
    read_u32(&r);
    segment->number = read_u64(&r);
    segment->base = read_u64(&r);
    segment->size = read_u64(&r);
    checked = WAL_SEGMENT_HEADER - r.left;
    check = read_u64(&r);
    if ((check != checksum(segment->base, bytes, checked) && !MUTANT(skip_header)) ||
        segment->number != number || segment->size < WAL_SEGMENT_MIN)
        return ERR_CORRUPT;
    return ERR_OK;
}

/* ---- the list of segments ---- */

static bool segments_add(struct segments *s, const struct wal_segment *segment)
{
    if (s->count == s->size) {
        size_t size = s->size == 0 ? 16 : 2 * s->size;
        struct wal_segment *list = realloc(s->list, size * sizeof *list);

        if (list == NULL)
            return false;
        s->list = list;
        s->size = size;
    }
    s->list[s->count++] = *segment;
    return true;
}

struct listing {
    struct segments *segments;
    bool no_memory;
};

static void list_one(void *arg, const char *name)
{
    struct listing *listing = arg;
    struct wal_segment segment = {0};

    if (wal_segment_number(name, &segment.number) &&
        !segments_add(listing->segments, &segment))
        listing->no_memory = true;
}

static int segment_order(const void *a, const void *b)
{
    const struct wal_segment *x = a, *y = b;

    return (x->number > y->number) - (x->number < y->number);
}

static enum err segment_read(struct disk *disk, struct wal_segment *segment,
                             const char *name)
{
    uint8_t bytes[WAL_SEGMENT_HEADER];
    struct disk_file *file;
    uint64_t size;
    size_t got;
    enum err err = disk->ops->open(disk, name, &file);

    if (err != ERR_OK)
        return err;
    err = disk->ops->size(file, &size);
    if (err == ERR_OK)
        err = disk->ops->read(file, 0, bytes, sizeof bytes, &got);
    disk->ops->close(file);
    if (err != ERR_OK)
        return err;
    if (got < sizeof bytes)
        return ERR_CORRUPT;
    err = wal_segment_parse(bytes, segment->number, segment);
    if (err == ERR_OK && segment->size != size)
        err = ERR_CORRUPT;
    return err;
}

static enum err segments_check(struct disk *disk, struct segments *s, struct wal_end *end)
{
    for (size_t i = 0; i < s->count; i++) {
        struct wal_segment *segment = &s->list[i];
        const struct wal_segment *before = i > 0 ? segment - 1 : NULL;
        enum err err;

        segment_name(segment->number, end->file);
        end->offset = 0;
        err = segment_read(disk, segment, end->file);
        if (err == ERR_VERSION)
            log_error("%s was written by a newer version: run that version", end->file);
        if (err == ERR_CORRUPT)
            log_alarm("%s: the segment's header is damaged", end->file);
        if (err != ERR_OK)
            return err;
        if (before != NULL && (segment->number != before->number + 1 ||
                               segment->base != before->base + before->size)) {
            log_alarm("%s: the segment before it, %016" PRIu64 ".log, is missing",
                      end->file, segment->number - 1);
            return ERR_CORRUPT;
        }
    }
    return ERR_OK;
}

static enum err segments_list(struct disk *disk, struct segments *s, struct wal_end *end)
{
    struct listing listing = {.segments = s};
    enum err err = disk->ops->list(disk, list_one, &listing);

    if (err == ERR_OK && listing.no_memory)
        err = ERR_MEMORY;
    if (err != ERR_OK)
        return err;
    if (s->count > 0)
        qsort(s->list, s->count, sizeof *s->list, segment_order);
    err = segments_check(disk, s, end);
    end->first = s->count > 0 ? s->list[0].base : 0;
    return err;
}

/* ---- reading ---- */

/* A window over one segment's bytes, moved forward as the reading goes on. */
struct window {
    struct disk *disk;
    struct disk_file *file;
    const struct wal_segment *segment;
    uint64_t end;    /* offset in the segment: nothing from there on is read */
    uint64_t offset; /* of bytes[0] in the segment */
    size_t len;
    uint8_t *bytes; /* [WINDOW] */
};

static enum err window_open(struct window *w, const struct wal_segment *segment)
{
    char name[DISK_NAME_MAX + 1];

    if (w->file != NULL)
        w->disk->ops->close(w->file);
    w->file = NULL;
    w->segment = segment;
    w->end = segment->size;
    w->offset = 0;
    w->len = 0;
    segment_name(segment->number, name);
    return w->disk->ops->open(w->disk, name, &w->file);
}

/* *at: as much as there is from offset on, at least `want` bytes unless the window's end is nearer. */
static enum err window_at(struct window *w, uint64_t offset, size_t want,
                          const uint8_t **at, size_t *len)
{
    uint64_t left = w->end - offset;
    enum err err;

    if (want > left)
        want = (size_t)left;
    if (offset < w->offset || offset + want > w->offset + w->len) {
        w->offset = offset;
        if (!MUTANT(keep_window))
            w->len = 0; /* Where the read fails, nothing is here. */
        err = w->disk->ops->read(w->file, offset, w->bytes,
                                 left < WINDOW ? (size_t)left : WINDOW, &w->len);
        if (err != ERR_OK)
            return err;
    }
    *at = w->bytes + (offset - w->offset);
    *len = w->len - (size_t)(offset - w->offset);
    return ERR_OK;
}

struct header {
    uint64_t check, durable, previous;
    uint32_t payload;
};

/* Whether a whole frame, right in itself, stands at `at`, which is at lsn. */
static bool frame_good(const uint8_t *at, size_t len, uint64_t lsn, struct header *h)
{
    struct reader r = reader_of(at, len);

    if (len < WAL_FRAME_HEADER)
        return false;
    h->check = read_u64(&r);
    if (read_u32(&r) != frame_magic)
        return false;
    h->payload = read_u32(&r);
    h->durable = read_u64(&r);
    h->previous = read_u64(&r);
    return h->payload <= BLOCK_MAX && h->payload <= r.left && h->durable <= lsn &&
           (MUTANT(skip_checksum) ||
            h->check == checksum(lsn, at + FRAME_CHECKED,
                                 WAL_FRAME_HEADER - FRAME_CHECKED + h->payload));
}

/* What the frame whose header stands at `at` takes, if it is one. */
static size_t frame_bytes(const uint8_t at[WAL_FRAME_HEADER])
{
    struct reader r =
        reader_of(at + FRAME_CHECKED + sizeof frame_magic, sizeof(uint32_t));
    uint32_t payload = read_u32(&r);

    return WAL_FRAME_HEADER + (payload <= BLOCK_MAX ? payload : 0);
}

struct scan {
    struct segments segments;
    struct window window;
    size_t at;       /* index of the segment read */
    uint64_t offset; /* in it */
    bool chained;    /* the checksum before is known */
    struct wal_end *end;
};

static uint64_t scan_lsn(const struct scan *s)
{
    return s->segments.list[s->at].base + s->offset;
}

/* The frame at the scan's place, if it is good and follows the one before it. */
static enum err scan_frame(struct scan *s, struct header *h, struct wal_frame *frame)
{
    const uint8_t *at;
    size_t len;
    enum err err = window_at(&s->window, s->offset, FRAME_MAX, &at, &len);

    if (err != ERR_OK)
        return err;
    frame->lsn = scan_lsn(s);
    if (!frame_good(at, len, frame->lsn, h) ||
        (s->chained && h->previous != s->end->mark.check && !MUTANT(skip_chain)))
        return ERR_NOT_FOUND;
    frame->bytes = at + WAL_FRAME_HEADER;
    frame->len = h->payload;
    frame->check = h->check;
    return ERR_OK;
}

/* The next frame: here, or where a segment has no room for it, at the next one's start. The log's first
 * frame has none before it to tell whether it follows: it stands at the first segment's start or nowhere. */
static enum err scan_next(struct scan *s, struct header *h, struct wal_frame *frame)
{
    size_t at = s->at;
    uint64_t offset = s->offset;
    enum err err = scan_frame(s, h, frame);

    if (err != ERR_NOT_FOUND || !s->chained || s->at + 1 == s->segments.count)
        return err;
    s->at++;
    s->offset = WAL_SEGMENT_HEADER;
    err = window_open(&s->window, &s->segments.list[s->at]);
    if (err == ERR_OK)
        err = scan_frame(s, h, frame);
    if (err != ERR_NOT_FOUND)
        return err;
    s->at = at;
    s->offset = offset;
    err = window_open(&s->window, &s->segments.list[s->at]);
    return err == ERR_OK ? ERR_NOT_FOUND : err;
}

/* How many zero bytes stand at `at`. */
static size_t zeros_at(const uint8_t *at, size_t len)
{
    static const uint8_t zeros[4096];
    size_t n = 0;

    while (len - n >= sizeof zeros && memcmp(at + n, zeros, sizeof zeros) == 0)
        n += sizeof zeros;
    while (n < len && at[n] == 0)
        n++;
    return n;
}

/* Behind a bad frame: does any frame that is right in itself say that the log was durable beyond the bad one?
 * Sets end->torn where anything but zeros is found. */
static enum err find_witness(struct scan *s, uint64_t bad, bool *found)
{
    struct header h;
    const uint8_t *at;
    size_t len, step;
    enum err err;

    *found = false;
    for (;;) {
        while (s->offset < s->segments.list[s->at].size) {
            err = window_at(&s->window, s->offset, FRAME_MAX, &at, &len);
            if (err != ERR_OK)
                return err;
            if (frame_good(at, len, scan_lsn(s), &h) && h.durable > bad) {
                *found = true;
                return ERR_OK;
            }
            /* Most of it is zeros, and those hold no frame. */
            step = zeros_at(at, len);
            s->end->torn = s->end->torn || step < len;
            /* A frame may begin with zero bytes: its checksum's. */
            s->offset += step > FRAME_CHECKED + 1 ? step - FRAME_CHECKED : 1;
        }
        if (s->at + 1 == s->segments.count)
            return ERR_OK;
        s->at++;
        s->offset = WAL_SEGMENT_HEADER;
        err = window_open(&s->window, &s->segments.list[s->at]);
        if (err != ERR_OK)
            return err;
    }
}

static void scan_place(struct scan *s)
{
    segment_name(s->segments.list[s->at].number, s->end->file);
    s->end->offset = s->offset;
}

/* Find the segment and offset of from, or the log's start. */
static enum err scan_seek(struct scan *s, const struct wal_mark *from)
{
    const struct segments *all = &s->segments;
    uint64_t lsn = from != NULL ? from->lsn : all->list[0].base;

    s->chained = from != NULL;
    s->at = 0;
    while (s->at + 1 < all->count && lsn >= all->list[s->at + 1].base)
        s->at++;
    if (lsn < all->list[s->at].base ||
        lsn - all->list[s->at].base > all->list[s->at].size) {
        log_alarm("the log begins at LSN %" PRIu64 ", but %" PRIu64
                  " is needed: segments are "
                  "missing",
                  all->list[0].base, lsn);
        return ERR_CORRUPT;
    }
    s->offset = lsn - all->list[s->at].base;
    if (s->offset < WAL_SEGMENT_HEADER)
        s->offset = WAL_SEGMENT_HEADER;
    s->end->mark =
        (struct wal_mark){.lsn = scan_lsn(s), .check = from != NULL ? from->check : 0};
    return window_open(&s->window, &all->list[s->at]);
}

/* A frame that ought to be here is damaged. Where there are only zeros, it is the next segment's first: this one had no
 * room for it. */
static enum err place_damage(struct scan *s)
{
    static const uint8_t zeros[WAL_FRAME_HEADER];
    const uint8_t *at;
    size_t len;
    enum err err = window_open(&s->window, &s->segments.list[s->at]);

    if (err == ERR_OK)
        err = window_at(&s->window, s->offset, FRAME_MAX, &at, &len);
    if (err != ERR_OK)
        return err;
    if (len > sizeof zeros)
        len = sizeof zeros;
    if (s->at + 1 < s->segments.count && memcmp(at, zeros, len) == 0) {
        s->at++;
        s->offset = WAL_SEGMENT_HEADER;
        scan_place(s);
    }
    log_alarm("%s: damaged at offset %" PRIu64
              ": what stood there was durable once and is no longer whole",
              s->end->file, s->end->offset);
    return ERR_CORRUPT;
}

/* The log seems to be torn here, and is going to be cut: unless it was the reading that went wrong. */
static enum err look_again(struct scan *s)
{
    struct wal_frame frame;
    struct header h;
    enum err err = window_open(&s->window, &s->segments.list[s->at]);

    if (err == ERR_OK)
        err = scan_next(s, &h, &frame);
    if (err == ERR_NOT_FOUND)
        return ERR_OK;
    if (err != ERR_OK)
        return err;
    log_alarm("%s: what stands at offset %" PRIu64 " reads different the second time",
              s->end->file, s->end->offset);
    return ERR_IO;
}

static enum err scan_frames(struct scan *s, wal_frame_fn *fn, void *arg)
{
    struct wal_frame frame;
    struct header h;
    bool witness;
    enum err err;
    size_t at;
    uint64_t offset;

    while ((err = scan_next(s, &h, &frame)) == ERR_OK) {
        scan_place(s);
        err = fn(arg, &frame);
        if (err != ERR_OK)
            return err;
        s->chained = true;
        s->offset += WAL_FRAME_HEADER + frame.len;
        s->end->mark = (struct wal_mark){.lsn = scan_lsn(s), .check = h.check};
        if (h.durable > s->end->durable)
            s->end->durable = h.durable;
        s->end->frames++;
    }
    if (err != ERR_NOT_FOUND)
        return err;
    scan_place(s);
    at = s->at;
    offset = s->offset;
    err = find_witness(s, scan_lsn(s), &witness);
    s->at = at;
    s->offset = offset;
    if (err != ERR_OK)
        return err;
    if (witness && !MUTANT(skip_witness))
        return place_damage(s);
    return s->end->torn && !MUTANT(cut_at_once) ? look_again(s) : ERR_OK;
}

static enum err scan_run(struct scan *s, struct disk *disk, const struct wal_mark *from,
                         wal_frame_fn *fn, void *arg)
{
    enum err err = segments_list(disk, &s->segments, s->end);

    if (err != ERR_OK)
        return err;
    if (s->segments.count == 0) {
        if (from == NULL || from->lsn == 0)
            return ERR_OK;
        log_alarm("the log has no segment, but its checkpoint ends at LSN %" PRIu64,
                  from->lsn);
        return ERR_CORRUPT;
    }
    s->window = (struct window){.disk = disk, .bytes = malloc(WINDOW)};
    if (s->window.bytes == NULL)
        return ERR_MEMORY;
    err = scan_seek(s, from);
    if (err == ERR_OK)
        err = scan_frames(s, fn, arg);
    if (s->window.file != NULL)
        disk->ops->close(s->window.file);
    free(s->window.bytes);
    return err;
}

enum err wal_scan(struct disk *disk, const struct wal_mark *from, wal_frame_fn *fn,
                  void *arg, struct wal_end *end)
{
    struct scan s = {.end = end};
    enum err err;

    memset(end, 0, sizeof *end);
    err = scan_run(&s, disk, from, fn, arg);
    free(s.segments.list);
    return err;
}

/* ---- recovery ---- */

static enum err open_segment(struct wal *w, size_t index, struct disk_file **file)
{
    char name[DISK_NAME_MAX + 1];

    segment_name(w->segments.list[index].number, name);
    return w->disk->ops->open(w->disk, name, file);
}

/* Whether bytes, which begin at lsn, are whole frames that end in the log's last one. */
static bool ends_log(const struct wal *w, const uint8_t *bytes, size_t len, uint64_t lsn)
{
    struct header h = {0};
    size_t at = 0;

    for (; at < len; at += WAL_FRAME_HEADER + h.payload) {
        uint64_t before = h.check;

        if (!frame_good(bytes + at, len - at, lsn + at, &h) ||
            (at > 0 && h.previous != before))
            return false;
    }
    return h.check == w->durable.check;
}

/* Write [from, to) of the file, which are of one batch, again with what they read as. That is another read than
 * the scan's, and what it gives will be believed: so it is looked at again. */
static enum err rewrite(struct wal *w, struct disk_file *file, uint64_t from, uint64_t to)
{
    const struct wal_segment *segment = &w->segments.list[w->current];
    size_t len = (size_t)(to - from), got;
    enum err err;

    if (len == 0 || MUTANT(trust_tail))
        return ERR_OK;
    assert(len <= sizeof w->batch);
    err = w->disk->ops->read(file, from, w->batch, len, &got);
    if (err != ERR_OK)
        return err;
    if (got < len ||
        (!ends_log(w, w->batch, len, segment->base + from) && !MUTANT(believe_second))) {
        log_alarm("segment %" PRIu64 ": the log's last write, at offset %" PRIu64
                  ", reads different the second time",
                  segment->number, from);
        return ERR_IO;
    }
    return w->disk->ops->write(file, from, w->batch, len);
}

/* Zeros over what a torn batch may have left in this segment from offset on. */
static enum err clear(struct wal *w, struct disk_file *file, size_t index,
                      uint64_t offset)
{
    uint64_t left = w->segments.list[index].size - offset;
    size_t len = left < WAL_BATCH_MAX ? (size_t)left : WAL_BATCH_MAX;

    if (MUTANT(leave_tail))
        return ERR_OK;
    memset(w->batch, 0, len);
    return w->disk->ops->write(file, offset, w->batch, len);
}

static enum err clear_next(struct wal *w)
{
    struct disk_file *file;
    enum err err;

    if (w->current + 1 >= w->segments.count || MUTANT(leave_next))
        return ERR_OK;
    err = open_segment(w, w->current + 1, &file);
    if (err != ERR_OK)
        return err;
    err = clear(w, file, w->current + 1, WAL_SEGMENT_HEADER);
    if (err == ERR_OK)
        err = w->disk->ops->sync(file);
    w->disk->ops->close(file);
    return err;
}

/* The end lies in segment `current`. All that was written after the highest mark belongs to one batch, and a
 * batch stands in one segment: so nothing before this segment is in doubt. */
static enum err mend_tail(struct wal *w, uint64_t durable)
{
    const struct wal_segment *segment = &w->segments.list[w->current];
    uint64_t end = w->durable.lsn - segment->base, from = WAL_SEGMENT_HEADER;
    enum err err = open_segment(w, w->current, &w->file);

    if (err != ERR_OK)
        return err;
    if (durable > segment->base + from)
        from = durable - segment->base;
    err = rewrite(w, w->file, from, end);
    if (err == ERR_OK)
        err = clear(w, w->file, w->current, end);
    if (err == ERR_OK)
        err = w->disk->ops->sync(w->file);
    return err == ERR_OK ? clear_next(w) : err;
}

enum err wal_open(struct disk *disk, uint64_t segment_bytes, const struct wal_mark *from,
                  wal_frame_fn *fn, void *arg, struct wal **wal)
{
    struct wal_end end = {0};
    struct scan s = {.end = &end};
    struct wal *w = calloc(1, sizeof *w);
    enum err err;

    if (w == NULL)
        return ERR_MEMORY;
    assert(segment_bytes >= WAL_SEGMENT_MIN);
    w->disk = disk;
    w->segment_bytes = segment_bytes;
    err = scan_run(&s, disk, from, fn, arg);
    w->segments = s.segments;
    w->current = s.at;
    w->durable = w->appended = end.mark;
    if (from != NULL && end.durable < from->lsn)
        end.durable = from->lsn; /* A checkpoint is taken of what is durable. */
    if (err == ERR_OK && w->segments.count > 0)
        err = mend_tail(w, end.durable);
    if (err != ERR_OK) {
        wal_close(w);
        return err;
    }
    if (end.torn)
        log_info("%s: cut at offset %" PRIu64 ": the last write was torn by a crash",
                 end.file, end.offset);
    *wal = w;
    return ERR_OK;
}

void wal_close(struct wal *w)
{
    if (w->file != NULL)
        w->disk->ops->close(w->file);
    free(w->segments.list);
    free(w);
}

/* ---- writing ---- */

/* Bytes left in the current segment. */
static uint64_t segment_left(const struct wal *w)
{
    const struct wal_segment *segment;

    if (w->file == NULL)
        return 0;
    segment = &w->segments.list[w->current];
    return segment->base + segment->size - w->appended.lsn;
}

static bool next_ready(const struct wal *w)
{
    return w->file == NULL ? w->segments.count > 0 : w->current + 1 < w->segments.count;
}

size_t wal_room(const struct wal *w)
{
    uint64_t left = segment_left(w);

    if (next_ready(w) || left >= FRAME_MAX)
        return BLOCK_MAX;
    return left > WAL_FRAME_HEADER ? (size_t)left - WAL_FRAME_HEADER : 0;
}

/* The next segment has room for three of the largest. */
static_assert(3 * (int)FRAME_MAX + (int)WAL_SEGMENT_HEADER <= (int)WAL_SEGMENT_MIN,
              "three blocks fit a segment");

bool wal_has_room(const struct wal *w, size_t bytes)
{
    return next_ready(w) || segment_left(w) >= bytes;
}

static enum err wal_write(struct wal *w)
{
    uint64_t offset = w->durable.lsn - w->segments.list[w->current].base;
    enum err err = w->disk->ops->write(w->file, offset, w->batch, w->batch_bytes);

    if (err == ERR_OK && !MUTANT(send_unsynced))
        err = w->disk->ops->sync(w->file);
    if (err != ERR_OK && MUTANT(retry_sync))
        err = w->disk->ops->sync(w->file);
    return err;
}

enum err wal_sync(struct wal *w)
{
    enum err err;

    assert(!w->failed); /* The caller has to stop at the first error. */
    if (w->batch_bytes == 0)
        return ERR_OK;
    err = wal_write(w);
    if (err != ERR_OK && !MUTANT(ignore_error)) {
        /* No retry: Linux may now hold these pages as clean, so a second sync can succeed for bytes that
         * never reached the disk, and a read can return them. wal_open() writes them again. */
        w->failed = true;
        return ERR_IO;
    }
    w->durable = w->appended;
    w->batch_bytes = 0;
    return ERR_OK;
}

/* Go on in the next segment. The old one is synced first: a batch never stands in two. */
static enum err wal_switch(struct wal *w)
{
    size_t next = w->file == NULL ? 0 : w->current + 1;
    enum err err = wal_sync(w);

    if (err != ERR_OK)
        return err;
    assert(next < w->segments.count);
    if (w->file != NULL)
        w->disk->ops->close(w->file);
    w->file = NULL;
    w->current = next;
    err = open_segment(w, next, &w->file);
    if (err != ERR_OK) {
        w->failed = true;
        return err;
    }
    w->durable.lsn = w->appended.lsn = w->segments.list[next].base + WAL_SEGMENT_HEADER;
    return ERR_OK;
}

enum err wal_append(struct wal *w, const void *bytes, size_t len)
{
    size_t frame = WAL_FRAME_HEADER + len;
    enum err err = ERR_OK;
    struct writer out;
    uint64_t check;

    assert(!w->failed && len <= wal_room(w));
    if (frame > segment_left(w))
        err = wal_switch(w);
    else if (frame > sizeof w->batch - w->batch_bytes)
        err = wal_sync(w);
    if (err != ERR_OK)
        return err;
    out = writer_of(w->batch + w->batch_bytes, frame);
    write_u64(&out, 0);
    write_u32(&out, frame_magic);
    write_u32(&out, (uint32_t)len);
    write_u64(&out, w->durable.lsn);
    write_u64(&out, w->appended.check);
    write_bytes(&out, bytes, len);
    check = checksum(w->appended.lsn, out.start + FRAME_CHECKED, frame - FRAME_CHECKED);
    out = writer_of(out.start, FRAME_CHECKED);
    write_u64(&out, check);
    w->batch_bytes += frame;
    w->appended.lsn += frame;
    w->appended.check = check;
    return ERR_OK;
}

struct wal_mark wal_mark(const struct wal *w)
{
    return w->durable;
}

uint64_t wal_first(const struct wal *w)
{
    return w->segments.count > 0 ? w->segments.list[0].base : 0;
}

/* ---- segments ahead and behind ---- */

static struct wal_segment segment_after(const struct wal *w)
{
    const struct wal_segment *last;

    if (w->segments.count == 0)
        return (struct wal_segment){.number = 1, .base = 0, .size = w->segment_bytes};
    last = &w->segments.list[w->segments.count - 1];
    return (struct wal_segment){.number = last->number + 1,
                                .base = last->base + last->size,
                                .size = w->segment_bytes};
}

bool wal_wants_segment(struct wal *w, struct disk_make *make)
{
    struct wal_segment next;

    if (next_ready(w))
        return false;
    next = segment_after(w);
    segment_header(&next, w->making);
    *make = (struct disk_make){
        .bytes = w->making, .len = sizeof w->making, .size = w->segment_bytes};
    segment_name(next.number, make->name);
    return true;
}

enum err wal_segment_made(struct wal *w)
{
    struct wal_segment next = segment_after(w);

    return segments_add(&w->segments, &next) ? ERR_OK : ERR_MEMORY;
}

enum err wal_release(struct wal *w, uint64_t lsn)
{
    char name[DISK_NAME_MAX + 1];
    size_t gone = 0;
    enum err err = ERR_OK;

    while (w->file != NULL && gone < w->current && err == ERR_OK &&
           w->segments.list[gone].base + w->segments.list[gone].size <= lsn) {
        segment_name(w->segments.list[gone].number, name);
        err = w->disk->ops->remove(w->disk, name, true);
        gone += err == ERR_OK;
    }
    if (gone > 0) {
        w->segments.count -= gone;
        w->current -= gone;
        memmove(w->segments.list, w->segments.list + gone,
                w->segments.count * sizeof *w->segments.list);
    }
    return err == ERR_REFUSED ? ERR_OK : err;
}

bool wal_has_old(const struct wal *w)
{
    return w->file != NULL && w->current > 0;
}

/* ---- reading what is durable ---- */

struct wal_reader {
    const struct wal *wal;
    struct window window;
    struct wal_segment segment; /* a copy: the log's list moves */
    struct wal_mark next;
    bool chained; /* next.check is known */
    uint8_t bytes[WINDOW];
};

struct wal_reader *wal_reader_new(const struct wal *w, uint64_t lsn)
{
    struct wal_reader *r = malloc(sizeof *r);
    uint64_t first = wal_first(w) + WAL_SEGMENT_HEADER;

    if (r == NULL)
        return NULL;
    r->wal = w;
    r->window = (struct window){.disk = w->disk, .bytes = r->bytes};
    r->next = (struct wal_mark){.lsn = lsn < first ? first : lsn};
    r->chained = false;
    return r;
}

void wal_reader_free(struct wal_reader *r)
{
    if (r == NULL)
        return;
    if (r->window.file != NULL)
        r->window.disk->ops->close(r->window.file);
    free(r);
}

uint64_t wal_reader_lsn(const struct wal_reader *r)
{
    return r->next.lsn;
}

/* The kept segment that lsn is in; ERR_NOT_FOUND: it was released. ERR_AGAIN: nothing durable is in it. */
static enum err reader_segment(struct wal_reader *r)
{
    const struct segments *all = &r->wal->segments;
    size_t at = 0;

    if (r->window.file != NULL && r->next.lsn >= r->segment.base &&
        r->next.lsn < r->segment.base + r->segment.size)
        return ERR_OK;
    if (r->next.lsn < wal_first(r->wal))
        return ERR_NOT_FOUND;
    while (at + 1 < all->count && r->next.lsn >= all->list[at + 1].base)
        at++;
    r->segment = all->list[at];
    if (r->next.lsn < r->segment.base + WAL_SEGMENT_HEADER) /* The one before is full. */
        r->next.lsn = r->segment.base + WAL_SEGMENT_HEADER;
    if (r->next.lsn >= r->wal->durable.lsn)
        return ERR_AGAIN;
    return window_open(&r->window, &r->segment);
}

/* The frame at next.lsn. Not a byte behind the durable end is read: it is about to change. Of what was appended since
 * the last time only the frame itself is asked for, so that whoever follows the log reads it once.
 * ERR_NOT_FOUND: none stands here. */
static enum err reader_frame(struct wal_reader *r, struct header *h,
                             struct wal_frame *frame)
{
    const uint64_t offset = r->next.lsn - r->segment.base,
                   durable = r->wal->durable.lsn - r->segment.base;
    const uint8_t *at;
    size_t len;
    enum err err;

    r->window.end = durable < r->segment.size ? durable : r->segment.size;
    err = window_at(&r->window, offset, WAL_FRAME_HEADER, &at, &len);
    if (err == ERR_OK && len >= WAL_FRAME_HEADER)
        err = window_at(&r->window, offset, frame_bytes(at), &at, &len);
    if (err != ERR_OK)
        return err;
    if (!frame_good(at, len, r->next.lsn, h) ||
        (r->chained && h->previous != r->next.check))
        return ERR_NOT_FOUND;
    *frame = (struct wal_frame){.lsn = r->next.lsn,
                                .bytes = at + WAL_FRAME_HEADER,
                                .len = h->payload,
                                .check = h->check};
    return ERR_OK;
}

enum err wal_reader_next(struct wal_reader *r, struct wal_frame *frame)
{
    struct header h;
    enum err err;

    for (int turn = 0; turn < 2; turn++) {
        if (r->next.lsn >= r->wal->durable.lsn)
            return ERR_AGAIN;
        err = reader_segment(r);
        if (err == ERR_OK)
            err = reader_frame(r, &h, frame);
        else if (err == ERR_NOT_FOUND || err == ERR_AGAIN)
            return err;
        if (err == ERR_OK) {
            r->next.lsn += WAL_FRAME_HEADER + frame->len;
            r->next.check = h.check;
            r->chained = true;
            return ERR_OK;
        }
        if (err != ERR_NOT_FOUND)
            return err;
        /* The segment's end, if the log goes on in the next one. */
        if (r->segment.base + r->segment.size > r->wal->durable.lsn)
            break;
        r->next.lsn = r->segment.base + r->segment.size + WAL_SEGMENT_HEADER;
    }
    log_alarm("%016" PRIu64 ".log: damaged at offset %" PRIu64, r->segment.number,
              r->next.lsn - r->segment.base);
    return ERR_CORRUPT;
}

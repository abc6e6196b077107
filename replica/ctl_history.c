#include "replica/ctl_history.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "replica/checkpoint.h"
#include "replica/look.h"

/* ---- whose streams they are ---- */

/* The part of a checkpoint's state that says so stands ahead of the counters. It is believed unchecked: a name
 * that rotted is told wrong, and `verify` is for that. */
static enum err read_streams(const struct checkpoint_source *source, struct streams *to)
{
    enum { MOST = 64 << 20 }; /* bytes: some 300,000 streams */
    size_t len = source->bytes < MOST ? (size_t)source->bytes : MOST;
    uint8_t *bytes = malloc(len);
    struct reader r = reader_of(bytes, len);
    enum err err = bytes == NULL ? ERR_MEMORY : ERR_OK;

    if (err == ERR_OK)
        err = checkpoint_source_read(source, 0, bytes, len);
    if (err == ERR_OK) {
        read_bytes(&r, ID_BYTES); /* the cluster's */
        err = streams_decode(to, &r);
    }
    free(bytes);
    return err;
}

static enum err load_streams(struct disk *disk, struct streams *to)
{
    uint64_t numbers[CHECKPOINT_KEPT + 1];
    struct checkpoint_source source;
    size_t count;
    enum err err = checkpoint_list(disk, numbers, CHECKPOINT_KEPT + 1, &count);

    if (err != ERR_OK || count == 0)
        return err;
    err = checkpoint_source_open(disk, numbers[0], &source);
    if (err != ERR_OK)
        return err;
    err = read_streams(&source, to);
    checkpoint_source_close(&source);
    return err;
}

/* What a stream's first block says. */
static bool see_stream(struct history *h, const struct block *block)
{
    return block->number != 1 || streams_find(&h->streams, &block->stream) != NULL ||
           streams_add(&h->streams, &block->stream, &block->origin, false) != NULL;
}

enum ctl_exit history_open(struct history *h)
{
    struct disk *disk;
    enum err err = look_disk_open("log", &disk);

    if (err != ERR_OK)
        return CTL_NOT_FINE;
    err = load_streams(disk, &h->streams);
    look_disk_close(disk);
    if (err == ERR_OK)
        return CTL_FINE;
    if (err == ERR_MEMORY || err == ERR_IO) {
        ctl_complain("the newest checkpoint cannot be read: %s", err_name(err));
        return CTL_NOT_FINE;
    }
    /* The log may say all the same; what it does not is left out. */
    ctl_complain("the newest checkpoint is damaged: some nodes' names may be missing; "
                 "tallyctl verify tells more");
    streams_clear(&h->streams);
    return CTL_FINE;
}

void history_close(struct history *h)
{
    streams_clear(&h->streams);
}

/* ---- what is meant ---- */

static bool read_moment(const struct ctl *ctl, enum ctl_option option, bool *given,
                        uint64_t *ms)
{
    const char *text = ctl->words->option[option];

    *given = text != NULL;
    if (text == NULL)
        return true;
    if (ctl_read_time(text, clock_wall_ms(), ms))
        return true;
    ctl_usage("--%s %.64s: expected a time such as 2026-11-23T15:04:05Z, '2026-11-23 "
              "15:04', 15:04, or 10m for ten minutes ago",
              ctl_option_rows[option].name, text);
    return false;
}

bool history_filter_read(const struct ctl *ctl, struct history_filter *f)
{
    const struct ctl_words *words = ctl->words;

    f->counter = words->option[CTL_OPT_COUNTER];
    f->node = words->option[CTL_OPT_NODE];
    f->tag = words->option[CTL_OPT_TAG];
    return read_moment(ctl, CTL_OPT_SINCE, &f->from, &f->since_ms) &&
           read_moment(ctl, CTL_OPT_UNTIL, &f->to, &f->until_ms);
}

const char *history_node(const struct history_count *count, char out[NODE_NAME_MAX + 1])
{
    if (count->stream == NULL)
        return "?";
    memcpy(out, count->stream->name, count->stream->name_len);
    out[count->stream->name_len] = '\0';
    return out;
}

static bool block_meant(const struct history_filter *f, const struct block *block,
                        const struct stream *stream)
{
    const struct history_count count = {.block = block, .stream = stream};
    char name[NODE_NAME_MAX + 1];

    if ((f->from && block->stamp_ms < f->since_ms) ||
        (f->to && block->stamp_ms >= f->until_ms))
        return false;
    return f->node == NULL || fnmatch(f->node, history_node(&count, name), 0) == 0;
}

static bool op_meant(const struct history_filter *f, const struct op *op)
{
    char name[NAME_MAX_BYTES + 1];

    if (f->tag != NULL && memmem(op->text, op->text_len, f->tag, strlen(f->tag)) == NULL)
        return false;
    if (f->counter == NULL)
        return true;
    memcpy(name, op->key, op->key_len);
    name[op->key_len] = '\0';
    return fnmatch(f->counter, name, 0) == 0;
}

/* ---- reading ---- */

struct reading {
    struct history *history;
    history_fn *fn;
    void *arg;
    uint64_t limit;
    bool over;   /* fn has had enough */
    bool midway; /* and there are more counts in the block */
};

/* The counts of a block that are meant. Each is given away when the next is known, or none: the last one is told
 * apart. */
static bool give_block(struct reading *r, struct history_count *count)
{
    struct block_cursor cursor = block_ops(count->block);
    struct op op, held;
    uint64_t found = 0;

    while (block_next_op(&cursor, &op)) {
        if (!op_meant(&r->history->filter, &op))
            continue;
        if (found > 0) {
            count->op = &held;
            count->index = found - 1;
            if (!r->fn(r->arg, count))
                return false;
        }
        held = op;
        found++;
    }
    if (found == 0)
        return true;
    count->op = &held;
    count->index = found - 1;
    count->last = true;
    return r->fn(r->arg, count);
}

static enum err read_block(struct reading *r, const struct wal_frame *frame,
                           const struct wal_mark *after)
{
    struct history *h = r->history;
    struct block block;
    struct history_count count = {.block = &block, .before = h->at, .after = *after};
    enum err err = block_decode(frame->bytes, frame->len, &crypto_real, &block);

    if (err != ERR_OK) {
        ctl_complain("the block at byte %" PRIu64 " of the log: %s", frame->lsn,
                     err_name(err));
        return err;
    }
    if (!see_stream(h, &block))
        return ERR_MEMORY;
    count.stream = streams_find(&h->streams, &block.stream);
    if (block_meant(&h->filter, &block, count.stream) && !give_block(r, &count)) {
        r->over = true;
        r->midway = !count.last;
    }
    return ERR_OK;
}

static enum err read_frame(void *arg, const struct wal_frame *frame)
{
    struct reading *r = arg;
    struct wal_mark after = {.lsn = frame->lsn + WAL_FRAME_HEADER + frame->len,
                             .check = frame->check};
    bool block = frame->len == 0 || frame->bytes[0] < BLOCK_OTHER_RECORDS;
    enum err err = block ? read_block(r, frame, &after) : ERR_OK;

    if (err != ERR_OK)
        return err;
    if (!r->midway) {
        r->history->at = after;
        r->history->begun = true;
    }
    /* Behind the limit a frame may be half written, which must not look like damage. */
    return r->over || after.lsn >= r->limit ? ERR_AGAIN : ERR_OK;
}

enum ctl_exit history_limit(struct ctl *ctl, uint64_t *first, uint64_t *limit)
{
    json_t *status;
    const json_t *log;
    enum ctl_exit code;

    *first = 0;
    *limit = UINT64_MAX;
    if (!ctl->node.running)
        return CTL_FINE;
    code = ctl_request(ctl, json_pack("{s:s}", "do", "status"), &status);
    if (code != CTL_FINE)
        return code;
    log = json_object_get(status, "log");
    *first = (uint64_t)ctl_number(log, "first");
    *limit = (uint64_t)ctl_number(log, "end");
    if (*limit <= *first + WAL_SEGMENT_HEADER)
        *limit = 0;
    json_decref(status);
    return CTL_FINE;
}

static enum ctl_exit tell_unread(enum err err)
{
    ctl_complain("the log cannot be read to its end: %s; tallyctl fsck tells more",
                 err_name(err));
    return CTL_NOT_FINE;
}

static enum ctl_exit scan(const struct wal_mark *from, wal_frame_fn *fn, void *arg)
{
    struct wal_end end;
    struct disk *disk;
    enum err err = look_disk_open("log", &disk);

    if (err != ERR_OK)
        return CTL_NOT_FINE;
    err = wal_scan(disk, from, fn, arg, &end);
    look_disk_close(disk);
    return err == ERR_OK || err == ERR_AGAIN ? CTL_FINE : tell_unread(err);
}

/* What goes before the place where reading is to begin. */
struct learning {
    struct history *history;
    bool any;      /* there is something before it */
    bool found;    /* a frame ends there, or the first one kept begins */
    bool released; /* what began there is no more */
};

static enum err learn_frame(void *arg, const struct wal_frame *frame)
{
    struct learning *l = arg;
    const struct wal_mark *at = &l->history->at;
    uint64_t after = frame->lsn + WAL_FRAME_HEADER + frame->len;
    struct position position;
    struct block block;
    enum err err = ERR_OK;

    if (after > at->lsn) {
        l->found = l->found || (!l->any && frame->lsn == at->lsn);
        l->released = !l->any && frame->lsn > at->lsn;
        return ERR_AGAIN;
    }
    l->any = true;
    l->found = after == at->lsn && frame->check == at->check;
    if (block_peek(frame->bytes, frame->len, &position) && position.number == 1) {
        err = block_decode(frame->bytes, frame->len, &crypto_real, &block);
        if (err == ERR_OK && !see_stream(l->history, &block))
            err = ERR_MEMORY;
    }
    return err == ERR_OK && after == at->lsn ? ERR_AGAIN : err;
}

/* A place that somebody names: whose streams began before it, and whether it is one of this log. */
static enum history_place learn(struct history *h)
{
    struct learning l = {.history = h};

    if (scan(NULL, learn_frame, &l) != CTL_FINE)
        return HISTORY_UNREAD;
    if (l.found)
        return HISTORY_HERE;
    return l.released ? HISTORY_RELEASED : HISTORY_ELSEWHERE;
}

enum history_place history_where(struct history *h, uint64_t first, uint64_t limit)
{
    enum history_place place = HISTORY_HERE;

    if (!h->begun)
        return HISTORY_HERE;
    if (h->at.lsn < first)
        return HISTORY_RELEASED;
    if (limit != UINT64_MAX && h->at.lsn > limit)
        return HISTORY_ELSEWHERE;
    if (!h->learned)
        place = learn(h);
    h->learned = h->learned || place == HISTORY_HERE;
    return place;
}

static enum ctl_exit tell_where(enum history_place place)
{
    if (place == HISTORY_RELEASED)
        ctl_complain("what stood behind that place was released: the log begins later");
    if (place == HISTORY_ELSEWHERE)
        ctl_complain(
            "that place is not one of this node's log, as --follow tells them: it "
            "is of another log");
    return place == HISTORY_HERE ? CTL_FINE : CTL_NOT_FINE;
}

enum ctl_exit history_read_to(struct history *h, uint64_t first, uint64_t limit,
                              history_fn *fn, void *arg)
{
    struct reading r = {.history = h, .fn = fn, .arg = arg, .limit = limit};
    struct wal_mark from;
    enum ctl_exit code;

    if (limit == 0)
        return CTL_FINE;
    code = tell_where(history_where(h, first, limit));
    from = h->at;
    if (code != CTL_FINE || (h->begun && h->at.lsn == limit))
        return code;
    /* What is read from its beginning teaches all there is to know. */
    h->learned = true;
    return scan(h->begun ? &from : NULL, read_frame, &r);
}

enum ctl_exit history_read(struct history *h, history_fn *fn, void *arg)
{
    uint64_t first, limit;
    enum ctl_exit code = history_limit(h->ctl, &first, &limit);

    return code == CTL_FINE ? history_read_to(h, first, limit, fn, arg) : code;
}

/* ---- for people and programs ---- */

void history_place_format(const struct wal_mark *mark, char out[HISTORY_PLACE_SIZE])
{
    snprintf(out, HISTORY_PLACE_SIZE, "%" PRIx64 "-%016" PRIx64, mark->lsn, mark->check);
}

bool history_place_read(const char *text, struct wal_mark *mark)
{
    static const char digits[] = "0123456789abcdef";
    size_t lsn = strspn(text, digits);

    if (lsn == 0 || lsn > 16 || text[lsn] != '-' ||
        strspn(text + lsn + 1, digits) != 16 || text[lsn + 17] != '\0')
        return false;
    mark->lsn = strtoull(text, NULL, 16);
    mark->check = strtoull(text + lsn + 1, NULL, 16);
    return true;
}

const char *history_numbers(const struct history_count *count)
{
    if (count->stream == NULL)
        return "";
    return count->stream->provisional ? "PROVISIONAL" : "FINAL";
}

const char *history_op(const struct op *op)
{
    switch (op->kind) {
    case OP_RETIRE:
        return "retire";
    case OP_SHOW:
        return "show";
    default:
        return NULL;
    }
}

/* Texts in JSON are UTF-8; a tag that is not goes as hexadecimal digits. */
static void set_tag(json_t *json, const struct op *op)
{
    char hex[2 * TAG_MAX_BYTES + 1];
    json_t *tag = json_stringn(op->text, op->text_len);

    if (tag != NULL) {
        json_object_set_new(json, "tag", tag);
        return;
    }
    sodium_bin2hex(hex, sizeof hex, (const uint8_t *)op->text, op->text_len);
    json_object_set_new(json, "tag_hex", json_string(hex));
}

json_t *history_json(const struct history_count *count)
{
    const struct block *block = count->block;
    const struct op *op = count->op;
    char stream[ID_HEX + 1], id[ID_HEX + 1], node[NODE_NAME_MAX + 1];
    json_t *json;

    id_format(&block->stream, stream);
    id_format(&op->id, id);
    json = json_pack(
        "{s:s, s:s*, s:I, s:I, s:s%, s:I, s:I, s:s*, s:s, s:s*}", "stream", stream,
        "node", count->stream != NULL ? history_node(count, node) : NULL, "block",
        (json_int_t)block->number, "time_ms", (json_int_t)block->stamp_ms, "counter",
        op->key, (size_t)op->key_len, "amount", (json_int_t)op_amount(op), "number",
        (json_int_t)(op->before + op_amount(op)), "numbers",
        count->stream != NULL ? history_numbers(count) : NULL, "id", id, "op",
        history_op(op));
    if (json != NULL)
        set_tag(json, op);
    return json;
}

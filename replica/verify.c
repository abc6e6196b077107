#include "replica/verify.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/checkpoint.h"
#include "replica/core.h"
#include "replica/forks.h"
#include "replica/streams.h"
#include "replica/zeros.h"

enum {
    CHECKPOINTS_MAX = CHECKPOINT_KEPT + 1, /* one more may stand after a crash */
};

struct verify {
    struct disk *disk;
    const struct crypto *crypto;
    uint64_t limit;
    struct verify_report *report;
    struct checkpoint checkpoints[CHECKPOINTS_MAX]; /* oldest first */
    size_t count, reached; /* reached: of those, the log has been read beyond so many */
    struct core *core;     /* begins with the oldest checkpoint, then follows the log */
    /* Blocks before the oldest checkpoint: they can only be chained to one another, and to it. */
    struct streams before;
    struct public_key key; /* this node's, if it is known; else of the first stream */
    bool key_known;
    bool
        adopted; /* since the last checkpoint the log says that another node's was taken over */
    bool shared; /* there are streams with another key, or made by a node with peers */
    /* The first number that does not fit. It counts only if the log turns out not to be shared. */
    struct verify_report number;
    uint64_t next;                   /* LSN behind the last frame; 0: none yet */
    char segment[DISK_NAME_MAX + 1]; /* that it stands in */
    uint64_t segment_base;
};

/* The first misfit is the one to name. */
__attribute__((format(printf, 2, 3))) static enum err misfit(struct verify *v,
                                                             const char *format, ...)
{
    va_list args;

    if (v->report->reason[0] == '\0') {
        va_start(args, format);
        vsnprintf(v->report->reason, sizeof v->report->reason, format, args);
        va_end(args);
    }
    return ERR_CORRUPT;
}

/* ---- checkpoints ---- */

static enum err misfit_checkpoint(struct verify *v, uint64_t number, const char *reason)
{
    checkpoint_name(number, v->report->file);
    v->report->offset = 0;
    return misfit(v, "%s", reason);
}

static void see_stream(struct verify *v, const struct public_key *key, bool provisional,
                       bool first)
{
    if (first && !v->key_known)
        v->key = *key;
    else if (memcmp(v->key.byte, key->byte, sizeof key->byte) != 0)
        v->shared = true;
    v->shared = v->shared || provisional;
}

static void see_streams(struct verify *v)
{
    const struct stream *stream, *next;
    bool first = true;

    HASH_ITER(hh, core_streams(v->core)->table, stream, next)
    {
        see_stream(v, &stream->key, stream->provisional, first);
        first = false;
    }
}

static enum err new_core(struct verify *v)
{
    const struct core_config config = {.crypto = v->crypto, .requests = CORE_REQUESTS};

    if (v->core != NULL)
        core_free(v->core);
    v->core = core_new(&config);
    return v->core != NULL ? ERR_OK : ERR_MEMORY;
}

/* What is kept of a fork is what its node has signed. */
static bool proves(const struct crypto *crypto, const struct stream *stream)
{
    struct fork_half half[2];
    unsigned count;

    if (stream->proof.blocks == 0)
        return true;
    if (fork_read(stream->proof.bytes, stream->proof.len, crypto, half, &count) !=
            ERR_OK ||
        count != stream->proof.blocks)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (!id_equal(&half[i].block.stream, &stream->end.position.stream) ||
            !block_signed(&half[i].block, crypto, &stream->key))
            return false;
    return true;
}

/* Of the checkpoint that v->core was loaded from. */
static void check_proofs(struct verify *v, uint64_t number)
{
    const struct stream *stream = core_streams(v->core)->table;

    while (stream != NULL && proves(v->crypto, stream))
        stream = stream->hh.next;
    if (stream != NULL)
        misfit_checkpoint(v, number,
                          "what it keeps as proof that a stream forks proves nothing");
}

/* The oldest one stays in v->core; of the others only what the log does not tell is looked at. */
static enum err load_checkpoint(struct verify *v, uint64_t number)
{
    struct core *oldest = v->core;
    enum err err;

    v->core = NULL;
    err = new_core(v);
    if (err == ERR_OK)
        err = checkpoint_load(v->disk, number, v->crypto, v->core,
                              &v->checkpoints[v->count]);
    if (err == ERR_OK) {
        check_proofs(v, number);
        v->count++;
    } else if (err == ERR_CORRUPT) {
        misfit_checkpoint(v, number, "the checkpoint's hash or signature does not fit");
    }
    if (oldest == NULL && err == ERR_OK)
        return ERR_OK;
    if (v->core != NULL)
        core_free(v->core);
    v->core = oldest;
    return err == ERR_CORRUPT ? ERR_OK : err;
}

static enum err load_checkpoints(struct verify *v)
{
    uint64_t numbers[CHECKPOINTS_MAX];
    size_t count;
    enum err err = checkpoint_list(v->disk, numbers, CHECKPOINTS_MAX, &count);

    if (err != ERR_OK)
        return err;
    if (count > CHECKPOINTS_MAX)
        count = CHECKPOINTS_MAX;
    for (size_t i = count; i > 0 && err == ERR_OK; i--)
        err = load_checkpoint(v, numbers[i - 1]);
    if (err == ERR_OK && v->count == 0)
        err = new_core(v);
    if (err != ERR_OK)
        return err;
    v->report->checkpoints = v->count;
    see_streams(v);
    return ERR_OK;
}

static enum err state_hash(struct verify *v, struct hash *hash)
{
    size_t size = core_encoded_max(v->core);
    uint8_t *bytes = malloc(size);
    struct writer w = writer_of(bytes, size);

    if (bytes == NULL)
        return ERR_MEMORY;
    core_encode_state(v->core, &w);
    v->crypto->hash(hash, bytes, w.len);
    free(bytes);
    return w.full ? ERR_MEMORY : ERR_OK;
}

/* The blocks before the oldest checkpoint must end where it says that their streams ended. */
static enum err check_before(struct verify *v)
{
    const struct stream *stream, *known, *next;

    HASH_ITER(hh, v->before.table, stream, next)
    {
        known = streams_find(core_streams(v->core), &stream->end.position.stream);
        if (known->end.position.number != stream->end.position.number ||
            !hash_equal(&known->end.hash, &stream->end.hash))
            return misfit_checkpoint(
                v, v->checkpoints[0].number,
                "the checkpoint does not follow from the log before it");
    }
    return ERR_OK;
}

/* Go on from a checkpoint that another node's was taken over with. It holds at least what was held before. */
static enum err begin_anew(struct verify *v, const struct checkpoint *checkpoint)
{
    struct core *before = v->core;
    struct checkpoint loaded;
    enum err err;

    v->core = NULL;
    err = new_core(v);
    if (err == ERR_OK)
        err = checkpoint_load(v->disk, checkpoint->number, v->crypto, v->core, &loaded);
    for (const struct stream *s = core_streams(before)->table; s != NULL && err == ERR_OK;
         s = s->hh.next)
        if (core_held(v->core, &s->end.position.stream) < s->end.position.number)
            err = misfit_checkpoint(v, checkpoint->number,
                                    "the checkpoint lacks what the log before it holds");
    core_free(before);
    if (err == ERR_OK)
        see_streams(v);
    return err;
}

static enum err reach_checkpoint(struct verify *v, const struct checkpoint *checkpoint)
{
    struct hash hash;
    enum err err = state_hash(v, &hash);
    bool adopted = v->adopted;

    v->adopted = false;
    if (err != ERR_OK || hash_equal(&hash, &checkpoint->state))
        return err;
    if (adopted)
        return begin_anew(v, checkpoint);
    return misfit_checkpoint(v, checkpoint->number,
                             "the checkpoint does not follow from the log before it");
}

/* The log has been read up to lsn: compare the checkpoints that end there or before. */
static enum err reach(struct verify *v, uint64_t lsn)
{
    enum err err = ERR_OK;

    while (err == ERR_OK && v->reached < v->count &&
           v->checkpoints[v->reached].mark.lsn <= lsn) {
        err = v->reached == 0 ? check_before(v)
                              : reach_checkpoint(v, &v->checkpoints[v->reached]);
        v->reached++;
    }
    return err;
}

/* ---- blocks ---- */

static enum err check_signature(struct verify *v, const struct block *block,
                                const struct stream *stream)
{
    if (block_signed(block, v->crypto, &stream->key))
        return ERR_OK;
    return misfit(v, "the signature of block %" PRIu64 " does not fit", block->number);
}

/* A block whose effect is in the oldest checkpoint already. */
static enum err take_before(struct verify *v, const struct block *block)
{
    const struct id *id = &block->stream;
    const struct stream *known = streams_find(core_streams(v->core), id);
    struct stream *stream = streams_find(&v->before, id);

    if (known == NULL)
        return misfit(v,
                      "a block of a stream that the checkpoint behind it does not know");
    if (stream == NULL) {
        struct block_origin origin = {.key = known->key};

        stream = streams_add(&v->before, id, &origin, false);
        if (stream == NULL)
            return ERR_MEMORY;
    } else if (block->number != stream->end.position.number + 1 ||
               !hash_equal(&block->previous, &stream->end.hash)) {
        return misfit(v, "block %" PRIu64 " does not follow the one before it",
                      block->number);
    }
    stream->end.position.number = block->number;
    stream->end.hash = block->hash;
    return check_signature(v, block, stream);
}

static void misnumber(struct verify *v, const struct block *block, const struct op *op,
                      int64_t total)
{
    struct verify_report *r = &v->number;

    if (r->reason[0] != '\0')
        return;
    snprintf(r->reason, sizeof r->reason,
             "block %" PRIu64 " says that %.*s stood at %" PRId64
             " before it, and it stood at %" PRId64,
             block->number, op->key_len, op->key, op->before, total);
    memcpy(r->file, v->report->end.file, sizeof r->file);
    r->offset = v->report->end.offset;
}

/* The total before a group's first count, which the block is signed with, is what all counts before
 * make of it. Of a node with peers this cannot be said: their blocks may have come in between, or in
 * another order; and so may those of a copy of this node's machine, under its own key. */
static void check_numbers(struct verify *v, const struct block *block)
{
    struct block_cursor cursor = block_ops(block);
    const char *group = NULL;
    struct op op;

    if (block->number == 1)
        see_stream(v, &block->origin.key, block->origin.provisional,
                   core_streams(v->core)->count == 0);
    while (!v->shared && block_next_op(&cursor, &op)) {
        struct msg_get_req req = {.name_len = op.key_len};
        struct msg_get_rep rep;

        if (op.key == group)
            continue;
        group = op.key;
        memcpy(req.name, op.key, op.key_len);
        core_get(v->core, &req, &rep);
        if (rep.total != op.before)
            misnumber(v, block, &op, rep.total);
    }
}

static enum err take_after(struct verify *v, const struct block *block,
                           const struct wal_frame *frame)
{
    enum err err;

    check_numbers(v, block);
    err = core_replay(v->core, frame->bytes, frame->len);
    if (err == ERR_CORRUPT)
        return misfit(v, "block %" PRIu64 " does not follow the one before it",
                      block->number);
    if (err == ERR_REFUSED)
        return misfit(v, "block %" PRIu64 " is of another cluster", block->number);
    if (err != ERR_OK)
        return err;
    return check_signature(v, block, streams_find(core_streams(v->core), &block->stream));
}

static void count_block(struct verify_report *report, const struct block *block)
{
    struct block_cursor cursor = block_ops(block);
    struct op op;

    report->blocks++;
    while (block_next_op(&cursor, &op))
        report->counts += op.kind == OP_ADD;
}

/* A block that contradicts the one held: it is kept as proof that its stream forks. */
static enum err take_proof(struct verify *v, const struct wal_frame *frame)
{
    const struct stream *stream;
    struct block block;
    enum err err = block_decode(frame->bytes + 1, frame->len - 1, v->crypto, &block);

    if (err != ERR_OK)
        return misfit(v, "a proof of a fork that is no block");
    v->report->forks++;
    if (v->core == NULL)
        return ERR_OK;
    stream = streams_find(core_streams(v->core), &block.stream);
    return stream == NULL ? misfit(v, "a proof of a fork of a stream that is not here")
                          : check_signature(v, &block, stream);
}

/* Here another node's checkpoint was taken over. Streams may jump from here on: before the oldest checkpoint to
 * wherever they go on, and behind it to what the next checkpoint says. */
static enum err take_adoption(struct verify *v, const struct wal_frame *frame)
{
    if (frame->len != BLOCK_ADOPTED_BYTES)
        return misfit(v, "a record of a checkpoint taken over that is none");
    streams_clear(&v->before);
    v->adopted = true;
    return ERR_OK;
}

/* Here the node began to join, or had caught up. */
/* From BLOCK_OTHER_RECORDS to BLOCK_PROOF, which is the greatest byte. */
static_assert(BLOCK_JOINS == BLOCK_OTHER_RECORDS && BLOCK_PROOF == 0xff,
              "all are told apart");

static enum err take_joins(struct verify *v, const struct wal_frame *frame)
{
    return frame->len == BLOCK_JOINS_BYTES && frame->bytes[1] <= 1
               ? ERR_OK
               : misfit(v, "a record of joining that is none");
}

static enum err take_doubt(struct verify *v, const struct wal_frame *frame)
{
    return frame->len == BLOCK_DOUBT_BYTES ? ERR_OK
                                           : misfit(v, "a record of doubt that is none");
}

static enum err take_other(struct verify *v, const struct wal_frame *frame)
{
    switch (frame->bytes[0]) {
    case BLOCK_PROOF:
        return take_proof(v, frame);
    case BLOCK_ADOPTED:
        return take_adoption(v, frame);
    case BLOCK_DOUBT:
        return take_doubt(v, frame);
    default:
        return take_joins(v, frame);
    }
}

static enum err check_zeros(struct verify *v, const char *file, uint64_t from,
                            uint64_t to)
{
    uint64_t at;
    enum err err = zeros_check(v->disk, file, from, to, &at);

    if (err != ERR_CORRUPT)
        return err;
    memcpy(v->report->file, file, strlen(file) + 1);
    v->report->offset = at;
    return misfit(v, "something stands where the log has nothing but zeros");
}

/* What no frame's checksum covers: the rest of a header, and of a segment that had no room for the next frame. */
static enum err check_rest(struct verify *v, const struct wal_frame *frame)
{
    const char *file = v->report->end.file;
    uint64_t base = frame->lsn - v->report->end.offset;
    enum err err = ERR_OK;

    if (strcmp(file, v->segment) == 0)
        return ERR_OK;
    if (v->next != 0 && v->next < base) {
        uint64_t before = v->next - v->segment_base;

        err = check_zeros(v, v->segment, before, UINT64_MAX);
    }
    if (err == ERR_OK)
        err = check_zeros(v, file, WAL_SEGMENT_HEADER_USED, WAL_SEGMENT_HEADER);
    memcpy(v->segment, file, sizeof v->segment);
    v->segment_base = base;
    return err;
}

static enum err take_record(struct verify *v, const struct wal_frame *frame)
{
    struct block block;
    enum err err;

    if (frame->len > 0 && frame->bytes[0] >= BLOCK_OTHER_RECORDS)
        return take_other(v, frame);
    err = block_decode(frame->bytes, frame->len, v->crypto, &block);
    if (err == ERR_MALFORMED || err == ERR_TOO_LONG)
        return misfit(v, "a block that is not encoded as one");
    if (err != ERR_OK)
        return err;
    err = v->count > 0 && frame->lsn < v->checkpoints[0].mark.lsn
              ? take_before(v, &block)
              : take_after(v, &block, frame);
    if (err != ERR_OK)
        return err;
    count_block(v->report, &block);
    return ERR_OK;
}

static enum err take_frame(void *arg, const struct wal_frame *frame)
{
    struct verify *v = arg;
    enum err err = reach(v, frame->lsn);

    if (err == ERR_OK)
        err = check_rest(v, frame);
    if (err == ERR_OK)
        err = take_record(v, frame);
    if (err != ERR_OK)
        return err;
    v->next = frame->lsn + WAL_FRAME_HEADER + frame->len;
    /* Behind the limit a frame may be half written, which must not look like damage. */
    return v->next >= v->limit ? ERR_AGAIN : ERR_OK;
}

/* ---- all of it ---- */

/* What seems torn was whole where a checkpoint ends behind it. */
static enum err check_end(struct verify *v)
{
    struct verify_report *report = v->report;
    uint64_t lsn = v->next > report->end.mark.lsn ? v->next : report->end.mark.lsn;

    for (size_t i = v->reached; i < v->count; i++) {
        if (v->checkpoints[i].mark.lsn <= lsn || v->checkpoints[i].mark.lsn > v->limit)
            continue;
        memcpy(report->file, report->end.file, sizeof report->file);
        report->offset = report->end.offset;
        return misfit(
            v, "the log ends here, and checkpoint %" PRIu64 " says that it was longer",
            v->checkpoints[i].number);
    }
    return ERR_OK;
}

static enum err scan(struct verify *v)
{
    struct verify_report *report = v->report;
    enum err err = wal_scan(v->disk, NULL, take_frame, v, &report->end);

    if (err == ERR_AGAIN)
        err = ERR_OK;
    if (err == ERR_CORRUPT && report->file[0] == '\0') {
        memcpy(report->file, report->end.file, sizeof report->file);
        report->offset = report->end.offset;
        misfit(v,
               "what stood there was whole once, and its checksum does not fit any more");
    }
    if (err == ERR_OK && !v->shared && v->number.reason[0] != '\0') {
        memcpy(report->file, v->number.file, sizeof report->file);
        report->offset = v->number.offset;
        err = misfit(v, "%s", v->number.reason);
    }
    if (err == ERR_OK && v->count == 0 && report->end.first != 0)
        err = misfit(v, "the log's beginning is gone, and no checkpoint is whole");
    if (err == ERR_OK)
        err = check_end(v);
    return err == ERR_OK ? reach(v, v->limit) : err;
}

enum err verify_log(struct disk *disk, const struct crypto *crypto,
                    const struct public_key *own, uint64_t limit,
                    struct verify_report *report)
{
    struct verify v = {.disk = disk, .crypto = crypto, .limit = limit, .report = report};
    enum err err;

    v.key_known = own != NULL;
    if (own != NULL)
        v.key = *own;

    *report = (struct verify_report){.reason = ""};
    err = load_checkpoints(&v);
    if (err == ERR_OK)
        err = scan(&v);
    if (err == ERR_OK && report->reason[0] != '\0')
        err = ERR_CORRUPT; /* a damaged checkpoint; the rest fits */
    if (v.core != NULL) {
        report->streams = core_streams(v.core)->count;
        core_free(v.core);
    }
    streams_clear(&v.before);
    return err;
}

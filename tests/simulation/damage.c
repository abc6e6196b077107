/* tests/simulation/damage.c: rot, frames of elsewhere, old copies and wiped directories;
 * and what DESIGN.md promises of each. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "tests/simulation/sim.h"
#include "tests/simulation/trace.h"

enum { FILES_MAX = 64 };

struct files {
    struct simfile *list[FILES_MAX];
    size_t count;
};

static void list_one(void *arg, struct simfile *file)
{
    struct files *files = arg;

    if (files->count == FILES_MAX)
        abort();
    files->list[files->count++] = file;
}

/* By name, so logs come in their order and checkpoints from the oldest on. */
static struct files files_of(struct sim *s)
{
    struct files files = {.count = 0};

    simdisk_each(s->disk, list_one, &files);
    return files;
}

bool is_log(const struct simfile *file)
{
    return strstr(simfile_name(file), ".log") != NULL;
}

/* All segments of a history are of one size, so a number says where one begins. */
static uint64_t base_of(const struct sim *s, const struct simfile *file)
{
    return (strtoull(simfile_name(file), NULL, 10) - 1) * s->plan.segment_bytes;
}

static struct simfile *file_at(struct sim *s, uint64_t lsn)
{
    char name[DISK_NAME_MAX + 1];

    snprintf(name, sizeof name, "%016" PRIu64 ".log", lsn / s->plan.segment_bytes + 1);
    return simdisk_find(s->disk, name);
}

bool damage_file_whole(const struct simfile *file)
{
    size_t len;
    const uint8_t *made = simfile_made(file, &len);
    uint8_t *now = malloc(len);
    bool same;

    if (now == NULL)
        abort();
    simfile_read(file, 0, now, len);
    if (is_log(file)) /* The rest of a segment's header means nothing. */
        len = FORMAT_SEGMENT_CHECKED;
    same = memcmp(made, now, len) == 0;
    free(now);
    return same;
}

bool damage_frame_whole(struct sim *s, const struct kept_frame *frame)
{
    const struct simfile *file = file_at(s, frame->lsn);
    size_t len = (size_t)(frame->end - frame->lsn);
    struct format_frame now;
    uint8_t *bytes;
    bool same;

    if (file == NULL)
        return false;
    bytes = malloc(len);
    if (bytes == NULL)
        abort();
    simfile_read(file, frame->lsn - base_of(s, file), bytes, len);
    same = format_frame(bytes, len, frame->lsn, &now) && now.check == frame->check &&
           now.previous == frame->previous && now.durable == frame->durable &&
           now.payload_len == frame->payload_len &&
           memcmp(now.payload, frame->payload, now.payload_len) == 0;
    free(bytes);
    return same;
}

/* ---- what must come of it ---- */

static void refuse(struct verdict *v, const char *file, uint64_t offset)
{
    /* The first place found is named; which of several is first is the node's own affair.
     */
    if (v->must_refuse || v->may_refuse) {
        v->file[0] = '\0';
    } else {
        snprintf(v->file, sizeof v->file, "%s", file);
        v->offset = offset;
    }
    v->must_refuse = true;
}

/* Whether the checkpoint was taken of this log, and not of an end that was cut off. */
static bool is_of_log(const struct sim *s, const struct format_checkpoint *checkpoint)
{
    size_t i = history_frames(s->history);

    while (i > 0 && history_frame(s->history, i - 1)->end > checkpoint->lsn)
        i--;
    return i > 0 && history_frame(s->history, i - 1)->end == checkpoint->lsn &&
           history_frame(s->history, i - 1)->check == checkpoint->check;
}

/* The LSN from which the log is read: that of the newest whole checkpoint. */
static uint64_t read_from(const struct sim *s, const struct files *files,
                          struct verdict *v)
{
    struct format_checkpoint checkpoint;
    uint8_t header[FORMAT_CHECKPOINT_HEADER];
    bool damaged = false;

    for (size_t i = files->count; i > 0; i--) {
        const struct simfile *file = files->list[i - 1];

        if (is_log(file))
            continue;
        simfile_read(file, 0, header, sizeof header);
        if (damage_file_whole(file)) {
            format_checkpoint(header, &checkpoint);
            /* It was damaged, or read wrongly, when the rotten end of the log was cut
             * below it. */
            v->may_refuse = v->may_refuse || !is_of_log(s, &checkpoint);
            return checkpoint.lsn;
        }
        damaged = true;
        if (memcmp(header + FORMAT_VERSION_AT,
                   simfile_made(file, &(size_t){0}) + FORMAT_VERSION_AT, 4) != 0)
            v->may_refuse = v->may_be_version = true;
    }
    /* Without any, the log must begin at its beginning. */
    if (damaged)
        for (size_t i = 0; i < files->count; i++)
            if (is_log(files->list[i])) {
                if (strtoull(simfile_name(files->list[i]), NULL, 10) != 1)
                    refuse(v, "", 0);
                break;
            }
    return 0;
}

static void look_at_segments(const struct files *files, struct verdict *v)
{
    for (size_t i = 0; i < files->count; i++) {
        const struct simfile *file = files->list[i];
        uint8_t header[FORMAT_SEGMENT_HEADER];

        if (!is_log(file) || damage_file_whole(file))
            continue;
        refuse(v, simfile_name(file), 0);
        simfile_read(file, 0, header, sizeof header);
        if (memcmp(header + FORMAT_VERSION_AT,
                   simfile_made(file, &(size_t){0}) + FORMAT_VERSION_AT, 4) != 0)
            v->may_be_version = true;
    }
}

/* A frame that is no longer whole: does a whole one behind it say that it was durable? */
static bool has_witness(struct sim *s, size_t bad)
{
    uint64_t lsn = history_frame(s->history, bad)->lsn;

    for (size_t i = bad + 1; i < history_frames(s->history); i++) {
        const struct kept_frame *f = history_frame(s->history, i);

        if (f->durable > lsn && damage_frame_whole(s, f))
            return true;
    }
    return false;
}

static void look_at_frames(struct sim *s, uint64_t from, struct verdict *v)
{
    size_t frames = history_frames(s->history), bad = frames;

    for (size_t i = frames; i > 0; i--) {
        const struct kept_frame *f = history_frame(s->history, i - 1);

        if (f->lsn < from)
            break;
        if (!damage_frame_whole(s, f))
            bad = i - 1;
    }
    if (bad == frames)
        return;
    s->rotten_frame = (int64_t)bad;
    if (has_witness(s, bad)) {
        const struct kept_frame *f = history_frame(s->history, bad);
        const struct simfile *file = file_at(s, f->lsn);

        refuse(v, file != NULL ? simfile_name(file) : "",
               file != NULL ? f->lsn - base_of(s, file) : 0);
        return;
    }
    v->cut_frame = (int64_t)bad;
    /* What was tried behind it, or a ghost, may be a witness too, or may be gone. */
    v->may_refuse = v->may_refuse || s->haunted || history_tried(s->history) > 0;
}

void damage_verdict(struct sim *s, struct verdict *v)
{
    struct files files;
    uint64_t from;

    *v = (struct verdict){.cut_frame = -1};
    s->rotten_frame = -1;
    if (!s->rotten)
        return;
    files = files_of(s);
    look_at_segments(&files, v);
    from = read_from(s, &files, v);
    look_at_frames(s, from, v);
}

/* ---- doing it ---- */

static void flip(struct simfile *file, uint64_t offset, unsigned bit)
{
    uint8_t byte;

    simfile_read(file, offset, &byte, 1);
    byte ^= (uint8_t)(1U << bit);
    simfile_plant(file, offset, &byte, 1);
}

/* Anywhere in a file, but rather where something stands, and rather at the log's end. */
static uint64_t rot_place(struct sim *s, struct simfile *file)
{
    uint64_t size = simfile_size(file), end = history_end(s->history), base;

    if (!is_log(file) || rng_chance(&s->fault, 1, 10))
        return rng_below(&s->fault, size);
    base = base_of(s, file);
    if (end <= base + FORMAT_SEGMENT_HEADER || rng_chance(&s->fault, 1, 10))
        return rng_below(&s->fault, FORMAT_SEGMENT_HEADER);
    end = end - base < size ? end - base : size;
    if (rng_chance(&s->fault, 1, 3) && end > 1024)
        return rng_between(&s->fault, end - 1024, end - 1);
    return rng_between(&s->fault, FORMAT_SEGMENT_HEADER, end - 1);
}

static void rot(struct sim *s)
{
    struct files files = files_of(s);
    unsigned bits = (unsigned)rng_wide(&s->fault, 1, 8);
    struct simfile *file;
    uint64_t offset;

    if (files.count == 0)
        return;
    file = files.list[rng_below(&s->fault, files.count)];
    offset = rot_place(s, file);
    for (unsigned i = 0; i < bits; i++) {
        unsigned bit = (unsigned)rng_below(&s->fault, 8);

        trace_name(TRACE_ROT, simfile_name(file), offset, bit);
        flip(file, offset, bit);
        if (offset + 1 < simfile_size(file))
            offset += rng_below(&s->fault, 2);
    }
    s->rotten = true;
    s->result->faults[FAULT_rot]++;
}

/* Behind the log's end: a good frame for this place, which follows another frame than the
 * last. */
static void ghost(struct sim *s)
{
    size_t frames = history_frames(s->history);
    const struct kept_frame *last;
    struct simfile *file;
    uint8_t *bytes;
    size_t len;

    if (frames == 0 || history_tried(s->history) > 0)
        return;
    last = history_frame(s->history, frames - 1);
    file = file_at(s, last->lsn);
    len = FORMAT_FRAME_HEADER + last->payload_len;
    if (file == NULL || last->end - base_of(s, file) + len > simfile_size(file))
        return;
    bytes = malloc(len);
    if (bytes == NULL)
        abort();
    format_frame_forge(bytes, last->end, last->end, last->previous, last->payload,
                       last->payload_len);
    simfile_plant(file, last->end - base_of(s, file), bytes, len);
    free(bytes);
    trace_name(TRACE_GHOST, simfile_name(file), last->end - base_of(s, file), 0);
    s->haunted = true;
    s->result->faults[FAULT_ghost]++;
}

static void restore(struct sim *s)
{
    if (s->copy.files == NULL)
        return;
    trace(TRACE_RESTORED, history_copy_frames(s->copy.history),
          history_frames(s->history));
    simdisk_restore(s->disk, s->copy.files);
    history_restore(s->history, s->copy.history);
    s->key = s->copy.key;
    s->rotten = s->copy.rotten;
    s->result->faults[FAULT_restore]++;
}

static void wipe(struct sim *s)
{
    uint8_t seed[crypto_sign_SEEDBYTES];

    trace(TRACE_WIPED, history_frames(s->history), 0);
    simdisk_wipe(s->disk);
    history_wipe(s->history);
    s->rotten = false;
    s->result->faults[FAULT_wipe]++;
    if (rng_chance(&s->fault, 1, 2))
        return;
    rng_bytes(&s->fault, seed, sizeof seed);
    crypto_sign_seed_keypair(s->key.public.byte, s->key.secret, seed);
}

void damage_between(struct sim *s)
{
    if (s->calm)
        return;
    if (s->plan.has[FAULT_restore] && rng_chance(&s->fault, 1, 12))
        restore(s);
    if (s->plan.has[FAULT_wipe] && rng_chance(&s->fault, 1, 30))
        wipe(s);
    if (s->plan.has[FAULT_ghost] && rng_chance(&s->fault, 1, 4))
        ghost(s);
    while (s->plan.has[FAULT_rot] && rng_chance(&s->fault, 1, 4))
        rot(s);
}

static void mend_file(struct sim *s, struct simfile *file)
{
    struct format_checkpoint checkpoint;
    size_t len;
    const uint8_t *made = simfile_made(file, &len);

    simfile_plant(file, 0, made, len);
    if (is_log(file))
        return;
    format_checkpoint(made, &checkpoint);
    if (!is_of_log(s, &checkpoint))
        simdisk_delete(s->disk, file); /* of blocks that are cut off and gone */
}

/* What a good backup would put right: each file as it was made, and the durable frames.
 */
void damage_mend(struct sim *s)
{
    struct files files = files_of(s);

    if (!s->rotten)
        return;
    for (size_t i = 0; i < files.count; i++)
        mend_file(s, files.list[i]);
    for (size_t i = 0; i < history_frames(s->history); i++) {
        const struct kept_frame *f = history_frame(s->history, i);
        struct simfile *file = file_at(s, f->lsn);
        size_t len = (size_t)(f->end - f->lsn);
        uint8_t *bytes;

        if (file == NULL || damage_frame_whole(s, f))
            continue;
        bytes = malloc(len);
        if (bytes == NULL)
            abort();
        format_frame_forge(bytes, f->lsn, f->durable, f->previous, f->payload,
                           f->payload_len);
        simfile_plant(file, f->lsn - base_of(s, file), bytes, len);
        free(bytes);
    }
    s->rotten = false;
    trace(TRACE_MENDED, 0, 0);
}

void damage_copy(struct sim *s)
{
    if (s->process.node == NULL || history_tried(s->history) > 0)
        return;
    simcopy_free(s->copy.files);
    free(s->copy.history);
    s->copy.files = simdisk_copy(s->disk);
    s->copy.history = history_copy(s->history);
    s->copy.key = s->key;
    s->copy.rotten = s->rotten;
    trace(TRACE_COPIED, history_frames(s->history), 0);
}

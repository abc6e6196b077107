#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "replica/block.h"
#include "replica/ctl.h"
#include "replica/key.h"
#include "replica/look.h"
#include "replica/verify.h"
#include "replica/wal.h"

/* Up to which LSN the files may be read: a running node writes behind it. 0: nothing stands there. */
static enum ctl_exit log_limit(struct ctl *ctl, uint64_t *limit)
{
    json_t *status;
    const json_t *log;
    enum ctl_exit code;

    *limit = UINT64_MAX;
    if (!ctl->node.running)
        return CTL_FINE;
    code = ctl_request(ctl, json_pack("{s:s}", "do", "status"), &status);
    if (code != CTL_FINE)
        return code;
    log = json_object_get(status, "log");
    *limit = (uint64_t)ctl_number(log, "end");
    if (*limit <= (uint64_t)ctl_number(log, "first") + WAL_SEGMENT_HEADER)
        *limit = 0;
    json_decref(status);
    return CTL_FINE;
}

struct listing {
    const struct ctl *ctl;
    uint64_t limit;
};

static void print_op(const struct block *block, const struct op *op)
{
    char stream[ID_HEX + 1], id[ID_HEX + 1], when[CTL_TIME_SIZE];

    id_format(&block->stream, stream);
    id_format(&op->id, id);
    ctl_format_time(block->stamp_ms, when);
    printf("%.8s %8" PRIu64 "  %s  %-24.*s %6" PRId64 " %10" PRId64 "  %s  ", stream,
           block->number, when, op->key_len, op->key, op->value, op->before + op->value,
           id);
    ctl_print_text(op->text, op->text_len);
    putchar('\n');
}

static void print_op_json(const struct block *block, const struct op *op)
{
    char stream[ID_HEX + 1], id[ID_HEX + 1], hex[2 * TAG_MAX_BYTES + 1];
    json_t *tag = json_stringn(op->text, op->text_len), *json;
    const char *member = "tag";

    if (tag == NULL) { /* not UTF-8, which JSON has to be */
        sodium_bin2hex(hex, sizeof hex, (const uint8_t *)op->text, op->text_len);
        member = "tag_hex";
        tag = json_string(hex);
    }
    id_format(&block->stream, stream);
    id_format(&op->id, id);
    json = json_pack("{s:s, s:I, s:I, s:s%, s:I, s:I, s:s, s:o}", "stream", stream,
                     "block", (json_int_t)block->number, "time_ms",
                     (json_int_t)block->stamp_ms, "counter", op->key, (size_t)op->key_len,
                     "amount", (json_int_t)op->value, "number",
                     (json_int_t)(op->before + op->value), "id", id, member, tag);
    ctl_print_json(json);
    json_decref(json);
}

static enum err list_frame(void *arg, const struct wal_frame *frame)
{
    const struct listing *listing = arg;
    struct block block;
    struct block_cursor cursor;
    struct op op;
    enum err err;

    if (frame->bytes[0] == BLOCK_PROOF)
        return ERR_OK; /* Not counted, but kept as proof that its stream forks. */
    if (frame->bytes[0] == BLOCK_ADOPTED)
        return ERR_OK; /* What was counted before is in a checkpoint that a peer made. */
    err = block_decode(frame->bytes, frame->len, &crypto_real, &block);
    if (err != ERR_OK) {
        fprintf(stderr, "tallyctl: the block at byte %" PRIu64 " of the log: %s\n",
                frame->lsn, err_name(err));
        return err;
    }
    cursor = block_ops(&block);
    while (block_next_op(&cursor, &op)) {
        if (listing->ctl->json)
            print_op_json(&block, &op);
        else
            print_op(&block, &op);
    }
    return frame->lsn + WAL_FRAME_HEADER + frame->len >= listing->limit ||
                   ctl_out_broken()
               ? ERR_AGAIN
               : ERR_OK;
}

enum ctl_exit ctl_log(struct ctl *ctl)
{
    struct listing listing = {.ctl = ctl};
    struct wal_end end;
    struct disk *disk;
    enum ctl_exit code = log_limit(ctl, &listing.limit);
    enum err err;

    if (code != CTL_FINE || listing.limit == 0)
        return code;
    err = look_disk_open("log", &disk);
    if (err != ERR_OK)
        return CTL_NOT_FINE;
    err = wal_scan(disk, NULL, list_frame, &listing, &end);
    look_disk_close(disk);
    return err == ERR_OK || err == ERR_AGAIN ? CTL_FINE : CTL_NOT_FINE;
}

static void print_report(const struct ctl *ctl, enum err err,
                         const struct verify_report *r)
{
    if (ctl->json) {
        json_t *json = json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:b}", "good",
                                 err == ERR_OK, "blocks", (json_int_t)r->blocks, "counts",
                                 (json_int_t)r->counts, "streams", (json_int_t)r->streams,
                                 "checkpoints", (json_int_t)r->checkpoints, "forks",
                                 (json_int_t)r->forks, "torn", r->end.torn);

        if (err != ERR_OK && json != NULL) {
            json_object_set_new(json, "reason", json_string(r->reason));
            json_object_set_new(json, "file", json_string(r->file));
            json_object_set_new(json, "offset", json_integer((json_int_t)r->offset));
        }
        ctl_print_json(json);
        json_decref(json);
        return;
    }
    if (err != ERR_OK && r->file[0] != '\0')
        printf("BAD: log/%s, offset %" PRIu64 ": %s\n", r->file, r->offset, r->reason);
    else if (err != ERR_OK)
        printf("BAD: %s\n", r->reason);
    else
        printf("good: every checksum, hash and signature fits\n");
    printf("read: counts %" PRIu64 ", blocks %" PRIu64 ", streams %" PRIu64
           ", checkpoints %" PRIu64 "\n",
           r->counts, r->blocks, r->streams, r->checkpoints);
    if (r->forks > 0)
        printf(
            "forks: %" PRIu64
            " blocks are kept as proof that another process signed with the same key\n",
            r->forks);
    if (err == ERR_OK && r->end.torn)
        puts("the last write was cut off by a crash; the next start clears it away");
}

enum ctl_exit ctl_verify(struct ctl *ctl)
{
    enum { TRIES = 3 }; /* a running node may remove a file that is about to be read */
    struct verify_report report = {.reason = ""};
    enum err err = ERR_NOT_FOUND;
    struct key_pair key;
    struct disk *disk;
    uint64_t limit;
    enum ctl_exit code;

    for (int i = 0; i < TRIES && err == ERR_NOT_FOUND; i++) {
        code = log_limit(ctl, &limit);
        if (code != CTL_FINE)
            return code;
        err = look_disk_open("log", &disk);
        if (err != ERR_OK)
            return CTL_NOT_FINE;
        if (limit > 0)
            err = verify_log(disk, &crypto_real,
                             key_read(false, &key) == ERR_OK ? &key.public : NULL, limit,
                             &report);
        look_disk_close(disk);
    }
    if (err == ERR_OK || err == ERR_CORRUPT) {
        print_report(ctl, err, &report);
        return err == ERR_OK ? CTL_FINE : CTL_NOT_FINE;
    }
    fprintf(stderr, "tallyctl: the log cannot be read: %s\n", err_name(err));
    return CTL_NOT_FINE;
}

/* tests/simulation/history.h: the model: what was counted, in which order, as the disk's
 * durable bytes tell it, and from that every promise about a count and its answer. It
 * also is the archive: it keeps every block for ever. */
#ifndef SIMULATION_HISTORY_H
#define SIMULATION_HISTORY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/msg.h"
#include "replica/core.h"
#include "tests/simulation/format.h"
#include "tests/simulation/simdisk.h"

enum { HISTORY_COUNTERS = 64, HISTORY_NONE = -1 };

/* A block that was durable, or was tried. Bytes are kept for ever; a history refers to
 * them. */
struct kept_frame {
    uint64_t lsn, end; /* from, and up to */
    uint64_t durable, check, previous;
    struct kept_frame *older; /* all that are kept */
    size_t payload_len;
    uint8_t payload[];
};

struct counted {
    struct id id;
    int64_t value, number;
    int64_t before; /* index of the one before with the same id, or HISTORY_NONE */
    uint32_t counter, frame;
};

struct own_stream {
    struct id id;
    size_t first; /* frame */
    struct stream_end end;
};

struct history_total {
    int64_t total;
    bool known;
};

struct history;

struct history *history_new(const struct crypto *crypto);
void history_free(struct history *h);

/* ---- what the process is to be ---- */

/* A run begins. capacity: request ids that it remembers. */
void history_run(struct history *h, const struct public_key *key, const struct id *stream,
                 size_t capacity, size_t items_max);
/* From this LSN on the log may be cut, though it was durable: it rotted. */
void history_may_cut(struct history *h, uint64_t lsn);
/* Its directory is empty. */
void history_wipe(struct history *h);

/* ---- the log ---- */

void history_writes(struct history *h, const struct simfile *file, uint64_t offset,
                    const void *bytes, size_t len);
void history_synced(struct history *h, const struct simfile *file);
/* What was written and not known to be durable when the process died. */
size_t history_tried(const struct history *h);
/* The log ends at lsn after a recovery: take in what survived of what was tried, and
 * forget the rest. */
void history_recovered(struct history *h, uint64_t lsn);

size_t history_frames(const struct history *h);
const struct kept_frame *history_frame(const struct history *h, size_t index);
uint64_t history_end(const struct history *h);
size_t history_counts(const struct history *h);
const struct counted *history_count_at(const struct history *h, size_t index);
const struct history_total *history_totals(const struct history *h);
size_t history_streams(const struct history *h);
const struct own_stream *history_stream(const struct history *h, size_t index);
/* Whether the block `frame` holds this count. */
bool history_has(const struct history *h, const struct id *id, size_t frame,
                 int64_t value, int64_t number);
/* The last frame of which a count may be forgotten; -1: none. Of all behind it, all are
 * remembered. */
int64_t history_reach(const struct history *h);

/* Go back to the first `frames`, where that is allowed to have happened. */
void history_cut(struct history *h, size_t frames);
/* Copies for an old directory; free() frees one. */
struct history_copy;
struct history_copy *history_copy(const struct history *h);
void history_restore(struct history *h, const struct history_copy *copy);
size_t history_copy_frames(const struct history_copy *copy);

/* ---- counts ---- */

/* What must be answered to a count. */
struct expected {
    struct msg_count_req req;
    bool may_count, may_know, may_be_unknown; /* one of these, or a refusal: */
    enum status refusal;                      /* or 0 */
    int64_t number;                           /* where may_count */
};
void history_expect(struct history *h, const struct msg_count_req *req,
                    struct expected *expected);
/* It was not answered at once: it is gathered, or waits for the first of its id. */
void history_gathers(struct history *h, const struct expected *expected);
/* Whether what was answered is what must be; room: whether the log had room for it. */
void history_answered(struct history *h, const struct expected *expected,
                      const struct msg_count_rep *rep, bool room);
void history_got(const struct history *h, const struct msg_get_req *req,
                 const struct msg_get_rep *rep);

/* The counter whose name this is. */
uint32_t history_counter(const char *name, size_t len);

#endif

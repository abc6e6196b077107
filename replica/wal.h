/* replica/wal.h: the write-ahead log: frames, each holding one block, in segment files that were
 * filled with zeros and synced before they are written to. The bytes are in FORMAT.md.
 *
 * A place in the log is an LSN: a 64-bit byte address that only grows. Segments follow one another without
 * a gap: each one's header says its first LSN. Every frame's checksum covers its LSN and the
 * checksum of the frame before it, and a frame says up to which LSN the log was durable when it was
 * written: so a bad frame below such a mark is rot, and above it the torn end of the last write. */
#ifndef REPLICA_WAL_H
#define REPLICA_WAL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "replica/block.h"
#include "replica/disk.h"

enum {
    WAL_FORMAT = 1,
    WAL_SEGMENT_HEADER = 64,
    WAL_SEGMENT_HEADER_USED =
        48, /* bytes of it that its check is of or in; the rest is zero */
    WAL_FRAME_HEADER = 32,
    /* Bytes written between two syncs, at most; none of them stand in two segments. So what a crash leaves
     * beyond the last durable byte reaches no further than this, and recovery need not look further. */
    WAL_BATCH_MAX = 1024 * 1024,
    WAL_SEGMENT_MIN = WAL_BATCH_MAX, /* bytes of a segment */
};

/* A place between two frames: its LSN, and the checksum of the frame before it (0 at the log's start). */
struct wal_mark {
    uint64_t lsn;
    uint64_t check;
};

/* A segment's file name is its number in 16 digits, and ".log". */
struct wal_segment {
    uint64_t number, base, size; /* base: LSN of its first byte, which is its header's */
};

/* For who copies the files: a name's number, false where it is no segment's; and what a header says.
 * Errors: ERR_CORRUPT, ERR_VERSION. */
bool wal_segment_number(const char *name, uint64_t *number);
enum err wal_segment_parse(const uint8_t bytes[WAL_SEGMENT_HEADER], uint64_t number,
                           struct wal_segment *segment);

struct wal_frame {
    uint64_t lsn;
    const uint8_t *bytes; /* good until the function returns */
    size_t len;
    uint64_t check; /* its checksum: with the LSN behind it, a wal_mark */
};
/* Anything but ERR_OK ends the reading and is passed up. */
typedef enum err wal_frame_fn(void *arg, const struct wal_frame *frame);

/* How far the log reaches. */
struct wal_end {
    struct wal_mark mark; /* behind the last good frame */
    uint64_t
        durable; /* at least up to here it was durable, as the frames say; 0: none says so */
    uint64_t first;  /* LSN of the oldest byte kept */
    uint64_t frames; /* read */
    bool
        torn; /* something stands behind the last good frame: a write that a crash tore */
    char file[DISK_NAME_MAX +
              1];    /* where that is, or where an error is; "" for no segment at all */
    uint64_t offset; /* in that file */
};

/* Read frames from `from` on, or from the oldest kept where from is NULL; changes nothing. *end is filled
 * in on every outcome.
 * Errors: ERR_CORRUPT  rot, or a missing segment: end->file and offset say where, logged
 *         ERR_VERSION  a segment of a newer format, logged
 *         ERR_IO, ERR_MEMORY, and what fn returned */
enum err wal_scan(struct disk *disk, const struct wal_mark *from, wal_frame_fn *fn,
                  void *arg, struct wal_end *end);

struct wal;

/* Recover: scan, then write the durable tail again before it is relied on (after a failed sync the
 * page cache may hold what the disk does not), cut what is torn, and write zeros over what stands
 * behind it, so that no old frame comes back to life. Needs no new space. Errors as wal_scan(). */
enum err wal_open(struct disk *disk, uint64_t segment_bytes, const struct wal_mark *from,
                  wal_frame_fn *fn, void *arg, struct wal **wal);
void wal_close(struct wal *w);

/* The largest payload, in bytes, that can be appended now; 0: the next segment is not ready. */
size_t wal_room(const struct wal *w);
/* Append one frame; len is at most wal_room(). It is durable after wal_sync() only. After any error the
 * log must not be used again: the process has to stop and recover.
 * Errors: ERR_IO. */
enum err wal_append(struct wal *w, const void *bytes, size_t len);
enum err wal_sync(struct wal *w);

/* The durable end. */
struct wal_mark wal_mark(const struct wal *w);
/* The oldest LSN kept. */
uint64_t wal_first(const struct wal *w);

/* Whether records of so many bytes in all, their frames' headers included, can be appended now, in any order: each of them
 * within BLOCK_MAX, and three at most. */
bool wal_has_room(const struct wal *w, size_t bytes);

/* Reading again what is durable, while the log goes on being written: for peers. */
struct wal_reader;
/* From the frame at lsn, a place that a reader or a scan named, or from the oldest kept where it is gone or 0.
 * NULL without memory. The log must outlive it. */
struct wal_reader *wal_reader_new(const struct wal *w, uint64_t lsn);
void wal_reader_free(struct wal_reader *r);
/* LSN of the frame that comes next. */
uint64_t wal_reader_lsn(const struct wal_reader *r);
/* ERR_AGAIN      the durable end
 * ERR_NOT_FOUND  what comes next was released: begin anew with the oldest kept
 * ERR_CORRUPT    rot; logged. ERR_IO */
enum err wal_reader_next(struct wal_reader *r, struct wal_frame *frame);

/* Segments are made ahead, off the hot path, by whoever owns the disk's one make: is one wanted? Then *make
 * is filled in, and wal_segment_made() is to be called once it stands. */
bool wal_wants_segment(struct wal *w, struct disk_make *make);
enum err wal_segment_made(struct wal *w);

/* Remove (or archive) the segments that end at or below lsn. ERR_IO. */
enum err wal_release(struct wal *w, uint64_t lsn);
/* Whether there are segments before the one that is written. */
bool wal_has_old(const struct wal *w);

#endif

/* tests/fuzz/fuzz_wal.c: any bytes in the log's segments. The first byte says how they
 * are meant:
 *   0  the rest are the first bytes of one segment, whose others are zero
 *   1  likewise, behind a header that is right
 *   2  the rest are pieces, each {kind, length, bytes}, laid one behind the other in two
 *      segments whose headers are right: kind % 5 is 0 a frame that follows the last,
 *      1 a frame that is right but follows none, 2 raw bytes, 3 so many zeros, 4 on to
 *      the second segment; kind / 5 says how many frames back the log was durable, as the
 *      frame has it
 *
 * A scan changes nothing. What it takes is right, and chained. Opening takes the same,
 * and leaves a log that is not torn, that opens the same again, and that takes one frame
 * more and no other. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/wal.h"
#include "tests/fuzz/quiet.h"
#include "tests/lib/memory_disk.h"

enum { SEGMENT = WAL_SEGMENT_MIN, SEEN_MAX = 4096, INPUT_MAX = 64 * 1024 };

static const char *const names[] = {"0000000000000001.log", "0000000000000002.log"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_at(bool right, int line, const char *what)
{
    if (right)
        return;
    fprintf(stderr, "fuzz_wal.c:%d: does not hold: %s\n", line, what);
    abort();
}
#define check(right) check_at(right, __LINE__, #right)

/* ---- the bytes as FORMAT.md has them, not as wal.c does it ---- */

static uint64_t checksum(uint64_t lsn, const void *bytes, size_t len)
{
    uint8_t key[crypto_shorthash_KEYBYTES], out[crypto_shorthash_BYTES];
    struct writer w = writer_of(key, sizeof key);
    struct reader r = reader_of(out, sizeof out);

    write_bytes(&w, "tally wa", 8);
    write_u64(&w, lsn);
    crypto_shorthash(out, bytes, len, key);
    return read_u64(&r);
}

static void put_header(uint8_t *segment, uint64_t number)
{
    struct writer w = writer_of(segment, WAL_SEGMENT_HEADER);

    memset(segment, 0, WAL_SEGMENT_HEADER);
    write_bytes(&w, "TALLYLOG", 8);
    write_u32(&w, 1);
    write_u32(&w, 0);
    write_u64(&w, number);
    write_u64(&w, (number - 1) * SEGMENT);
    write_u64(&w, SEGMENT);
    write_u64(&w, checksum((number - 1) * SEGMENT, segment, w.len));
}

static uint64_t put_frame(struct writer *w, uint64_t lsn, uint64_t durable,
                          uint64_t previous, const uint8_t *bytes, size_t len)
{
    uint8_t *start = w->start + w->len;
    struct writer head;
    uint64_t sum;

    write_u64(w, 0);
    write_bytes(w, "TLYF", 4);
    write_u32(w, (uint32_t)len);
    write_u64(w, durable);
    write_u64(w, previous);
    write_bytes(w, bytes, len);
    if (w->full)
        return previous;
    sum = checksum(lsn, start + 8, 24 + len);
    head = writer_of(start, 8);
    write_u64(&head, sum);
    return sum;
}

/* Where frames begin: only there does the log end when it is synced. */
struct starts {
    uint64_t lsn[INPUT_MAX / 2 + 1];
    size_t count;
};

static uint64_t start_back(struct starts *s, uint64_t lsn, size_t back)
{
    s->lsn[s->count++] = lsn;
    return s->lsn[back < s->count ? s->count - 1 - back : 0];
}

static void put_pieces(uint8_t segments[2][SEGMENT], struct reader *r)
{
    static struct starts starts;
    struct writer w = writer_of(segments[0], SEGMENT);
    uint64_t base = 0, previous = 0;

    put_header(segments[0], 1);
    put_header(segments[1], 2);
    starts.count = 0;
    w.len = WAL_SEGMENT_HEADER;
    while (r->left >= 2 && !w.full) {
        uint8_t kind = read_u8(r), len = read_u8(r);
        uint64_t lsn = base + w.len, durable = 0;
        size_t take = kind % 5 < 3 ? (len < r->left ? len : r->left) : 0;
        const uint8_t *bytes = read_bytes(r, take);

        if (kind % 5 < 2)
            durable = start_back(&starts, lsn, kind / 5);
        if (kind % 5 == 0)
            previous = put_frame(&w, lsn, durable, previous, bytes, take);
        else if (kind % 5 == 1)
            put_frame(&w, lsn, durable, previous + 1, bytes, take);
        else if (kind % 5 == 2)
            write_bytes(&w, bytes, take);
        else if (kind % 5 == 3)
            w.len += w.size - w.len > len ? len : 0;
        else if (base == 0) {
            base = SEGMENT;
            w = writer_of(segments[1], SEGMENT);
            w.len = WAL_SEGMENT_HEADER;
        }
    }
}

/* Made once, for most of the time would go into getting memory: one with one segment, one
 * with two; and a copy of each. */
static struct disk *disks[2], *copies[2];

static void fill_disk(struct disk *disk, unsigned mode, struct reader r)
{
    static uint8_t segments[2][SEGMENT];

    memset(segments, 0, sizeof segments);
    if (mode == 2) {
        put_pieces(segments, &r);
    } else {
        size_t at = mode == 1 ? WAL_SEGMENT_HEADER : 0;

        put_header(segments[0], 1);
        memcpy(segments[0] + at, r.at, r.left);
    }
    memory_disk_put(disk, names[0], segments[0], SEGMENT);
    if (mode == 2)
        memory_disk_put(disk, names[1], segments[1], SEGMENT);
}

static void copy_disk(struct disk *to, const struct disk *from)
{
    for (size_t i = 0; i < 2 && memory_disk_has(from, names[i]); i++) {
        size_t size;
        const uint8_t *bytes = memory_disk_bytes(from, names[i], &size);

        memory_disk_put(to, names[i], bytes, size);
    }
}

/* ---- what is seen ---- */

struct seen {
    size_t count;
    struct {
        uint64_t lsn;
        size_t len;
    } frame[SEEN_MAX];
};

static enum err see(void *arg, const struct wal_frame *frame)
{
    struct seen *seen = arg;

    check(seen->count < SEEN_MAX);
    seen->frame[seen->count].lsn = frame->lsn;
    seen->frame[seen->count++].len = frame->len;
    return ERR_OK;
}

static bool same(const struct seen *a, const struct seen *b, size_t count)
{
    return memcmp(a->frame, b->frame, count * sizeof a->frame[0]) == 0;
}

static bool same_bytes(const struct disk *a, const struct disk *b)
{
    bool equal = true;

    for (size_t i = 0; i < 2 && memory_disk_has(a, names[i]); i++) {
        size_t size;
        const uint8_t *in_a = memory_disk_bytes(a, names[i], &size),
                      *in_b = memory_disk_bytes(b, names[i], &size);

        equal = equal && memcmp(in_a, in_b, size) == 0;
    }
    return equal;
}

static void check_chain(const struct disk *disk, const struct seen *seen)
{
    uint64_t previous = 0;

    for (size_t i = 0; i < seen->count; i++) {
        uint64_t lsn = seen->frame[i].lsn, sum;
        size_t size, len = seen->frame[i].len;
        const uint8_t *segment = memory_disk_bytes(disk, names[lsn / SEGMENT], &size);
        struct reader r = reader_of(segment + lsn % SEGMENT, 32 + len);

        check(lsn % SEGMENT + 32 + len <= SEGMENT);
        sum = read_u64(&r);
        check(sum == checksum(lsn, r.at, 24 + len));
        read_bytes(&r, 16);
        check(i == 0 || read_u64(&r) == previous);
        previous = sum;
    }
}

static enum err open_log(struct disk *disk, struct wal **wal, struct seen *seen)
{
    seen->count = 0;
    return wal_open(disk, SEGMENT, NULL, see, seen, wal);
}

static void check_recovered(struct disk *disk, struct disk *copy,
                            const struct seen *before)
{
    static struct seen seen;
    struct wal_end end;
    struct wal *wal;

    check(open_log(disk, &wal, &seen) == ERR_OK);
    check(seen.count == before->count && same(&seen, before, seen.count));
    wal_close(wal);
    memory_disk_crash(disk);
    seen.count = 0;
    check(wal_scan(disk, NULL, see, &seen, &end) == ERR_OK && !end.torn);
    check(seen.count == before->count && same(&seen, before, seen.count));
    copy_disk(copy, disk);
    check(open_log(disk, &wal, &seen) == ERR_OK && seen.count == before->count);
    check(same_bytes(disk, copy));
    if (wal_room(wal) > 0) {
        check(wal_append(wal, "x", 1) == ERR_OK && wal_sync(wal) == ERR_OK);
        wal_close(wal);
        check(open_log(disk, &wal, &seen) == ERR_OK);
        check(seen.count == before->count + 1 && same(&seen, before, before->count));
    }
    wal_close(wal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct seen seen;
    struct reader r = reader_of(data, size);
    unsigned mode = read_u8(&r) % 3;
    struct disk *disk, *copy;
    struct wal_end end;
    struct wal *wal;
    enum err err;

    if (r.bad || size > INPUT_MAX)
        return 0;
    if (disks[mode == 2] == NULL) {
        disks[mode == 2] = memory_disk_new();
        copies[mode == 2] = memory_disk_new();
    }
    disk = disks[mode == 2];
    copy = copies[mode == 2];
    fill_disk(disk, mode, r);
    copy_disk(copy, disk);
    seen.count = 0;
    err = wal_scan(disk, NULL, see, &seen, &end);
    check(same_bytes(disk, copy));
    check_chain(disk, &seen);
    if (err == ERR_OK) {
        check_recovered(disk, copy, &seen);
        return 0;
    }
    check(open_log(disk, &wal, &seen) == err);
    check(same_bytes(disk, copy));
    return 0;
}

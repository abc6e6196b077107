/* tests/unit/test_wal.c: the log: what is synced is read back; a torn tail is cut for
 * good; rot is told from a tear, and where it is. The disk is tests/lib/memory_disk.h. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/wal.h"
#include "tests/lib/golden.h"
#include "tests/lib/history.h"
#include "tests/lib/memory_disk.h"

#define FIRST  "0000000000000001.log"
#define SECOND "0000000000000002.log"
#define THIRD  "0000000000000003.log"

enum { SEGMENT = WAL_SEGMENT_MIN, SEEN_MAX = 4096, TEXT_MAX = 64 };

static struct disk *disk;
static struct wal *wal;

/* What the last scan or open has read: each frame's place, its length, and how its bytes
 * begin. */
static struct {
    size_t count;
    uint64_t lsn[SEEN_MAX];
    size_t len[SEEN_MAX];
    char text[SEEN_MAX][TEXT_MAX];
} seen;

static enum err see(void *arg, const struct wal_frame *frame)
{
    size_t len = frame->len < TEXT_MAX ? frame->len : TEXT_MAX - 1;

    (void)arg;
    cr_assert_lt(seen.count, SEEN_MAX);
    seen.lsn[seen.count] = frame->lsn;
    seen.len[seen.count] = frame->len;
    memset(seen.text[seen.count], 0, TEXT_MAX);
    memcpy(seen.text[seen.count], frame->bytes, len);
    seen.count++;
    return ERR_OK;
}

static enum err scan_from(const struct wal_mark *from, struct wal_end *end)
{
    seen.count = 0;
    return wal_scan(disk, from, see, NULL, end);
}

static enum err scan(struct wal_end *end)
{
    return scan_from(NULL, end);
}

static enum err open_from(const struct wal_mark *from)
{
    enum err err;

    seen.count = 0;
    wal = NULL;
    err = wal_open(disk, SEGMENT, from, see, NULL, &wal);
    cr_assert_eq(err == ERR_OK, wal != NULL);
    return err;
}

static void reopen(void)
{
    if (wal != NULL)
        wal_close(wal);
    cr_assert_eq(open_from(NULL), ERR_OK);
}

static void crash(void)
{
    wal_close(wal);
    wal = NULL;
    memory_disk_crash(disk);
}

static bool add_segment(void)
{
    struct disk_make make;

    if (!wal_wants_segment(wal, &make))
        return false;
    cr_assert_eq(disk->ops->make(disk, &make), ERR_OK);
    cr_assert_eq(disk->ops->made(disk), ERR_OK);
    cr_assert_eq(wal_segment_made(wal), ERR_OK);
    return true;
}

static void append(const char *text)
{
    cr_assert_geq(wal_room(wal), strlen(text));
    cr_assert_eq(wal_append(wal, text, strlen(text)), ERR_OK);
}

static void sync_log(void)
{
    cr_assert_eq(wal_sync(wal), ERR_OK);
}

static void commit(const char *text)
{
    append(text);
    sync_log();
}

/* The frames seen, as "a b c". */
static const char *texts(void)
{
    static char all[SEEN_MAX];
    size_t len = 0;

    all[0] = '\0';
    for (size_t i = 0; i < seen.count && len < sizeof all; i++)
        len += (size_t)snprintf(all + len, sizeof all - len, "%s%s", i > 0 ? " " : "",
                                seen.text[i]);
    return all;
}

static bool zero_from(const char *name, uint64_t offset)
{
    size_t size;
    const uint8_t *bytes = memory_disk_bytes(disk, name, &size);

    while (offset < size && bytes[offset] == 0)
        offset++;
    return offset == size;
}

/* Frames of `bytes` each, until the log has `segments` segments and the last of them has
 * a frame. */
static unsigned fill(unsigned segments, size_t bytes)
{
    static char payload[BLOCK_MAX];
    unsigned made = 0, frames = 0;

    memset(payload, 'x', sizeof payload);
    do {
        if (add_segment())
            made++;
        snprintf(payload, sizeof payload, "%u", frames++);
        cr_assert_eq(wal_append(wal, payload, bytes), ERR_OK);
        sync_log();
    } while (wal_mark(wal).lsn < (uint64_t)(segments - 1) * SEGMENT);
    return frames;
}

static void set_up(void)
{
    cr_assert_geq(sodium_init(), 0);
    disk = memory_disk_new();
    cr_assert_eq(open_from(NULL), ERR_OK);
}

static void tear_down(void)
{
    if (wal != NULL)
        wal_close(wal);
    memory_disk_free(disk);
}

TestSuite(wal, .init = set_up, .fini = tear_down);

/* ---- writing and reading back ---- */

Test(wal, an_empty_folder_is_an_empty_log_that_has_no_room_until_a_segment_is_made)
{
    cr_expect_eq(seen.count, 0);
    cr_expect_eq(wal_mark(wal).lsn, 0);
    cr_expect_eq(wal_room(wal), 0);
    cr_expect(add_segment());
    cr_expect_eq(wal_room(wal), BLOCK_MAX);
    cr_expect(memory_disk_has(disk, FIRST));
}

Test(wal, what_was_synced_is_read_back_in_its_order)
{
    struct wal_end end;

    add_segment();
    commit("a");
    append("bb");
    append("ccc");
    sync_log();
    cr_expect_eq(scan(&end), ERR_OK);
    cr_expect_str_eq(texts(), "a bb ccc");
    cr_expect_eq(seen.lsn[0], WAL_SEGMENT_HEADER);
    cr_expect_eq(seen.lsn[1], WAL_SEGMENT_HEADER + WAL_FRAME_HEADER + 1);
    cr_expect_eq(end.frames, 3);
    cr_expect_eq(end.mark.lsn, wal_mark(wal).lsn);
    cr_expect_eq(end.mark.check, wal_mark(wal).check);
    cr_expect_eq(end.durable, seen.lsn[1], "as the last batch says, which began there");
    cr_expect_not(end.torn);
}

Test(wal, what_was_not_synced_is_gone_after_a_crash_and_the_rest_is_not)
{
    add_segment();
    commit("a");
    append("b");
    crash();
    reopen();
    cr_expect_str_eq(texts(), "a");
}

Test(wal, a_frame_may_be_empty_or_as_large_as_a_block_may_be)
{
    static uint8_t largest[BLOCK_MAX];

    add_segment();
    cr_assert_eq(wal_append(wal, "", 0), ERR_OK);
    memset(largest, 'l', sizeof largest);
    cr_assert_eq(wal_append(wal, largest, sizeof largest), ERR_OK);
    sync_log();
    reopen();
    cr_assert_eq(seen.count, 2);
    cr_expect_eq(seen.len[0], 0);
    cr_expect_eq(seen.len[1], BLOCK_MAX);
}

Test(wal, a_sync_without_anything_appended_does_not_touch_the_disk)
{
    unsigned before;

    add_segment();
    commit("a");
    before = memory_disk_syncs(disk);
    sync_log();
    cr_expect_eq(memory_disk_syncs(disk), before);
}

Test(wal, a_log_goes_on_over_the_ends_of_its_segments)
{
    unsigned frames = fill(4, 100 * 1000);

    cr_expect(memory_disk_has(disk, THIRD));
    reopen();
    cr_assert_eq(seen.count, frames);
    for (unsigned i = 0; i < frames; i++) {
        cr_expect_eq(strtoul(seen.text[i], NULL, 10), i);
        cr_expect_eq(seen.lsn[i] / SEGMENT, (seen.lsn[i] + 100 * 1000 + 31) / SEGMENT,
                     "frame %u stands in two segments", i);
    }
    commit("more");
    reopen();
    cr_expect_str_eq(seen.text[frames], "more");
}

Test(wal, a_segment_is_filled_to_its_last_byte)
{
    static uint8_t payload[BLOCK_MAX];
    size_t room;

    add_segment();
    while (wal_room(wal) == BLOCK_MAX) {
        cr_assert_eq(wal_append(wal, payload, 200 * 1000), ERR_OK);
        sync_log();
    }
    room = wal_room(wal);
    cr_expect_gt(room, 0);
    cr_assert_eq(wal_append(wal, payload, room), ERR_OK);
    sync_log();
    cr_expect_eq(wal_mark(wal).lsn, SEGMENT);
    cr_expect_eq(wal_room(wal), 0);
    reopen();
    cr_expect_eq(wal_mark(wal).lsn, SEGMENT);
    cr_expect_eq(wal_room(wal), 0);
    add_segment();
    commit("next");
    reopen();
    cr_expect_str_eq(seen.text[seen.count - 1], "next");
    cr_expect_eq(seen.lsn[seen.count - 1], SEGMENT + WAL_SEGMENT_HEADER);
}

Test(wal, a_segment_is_wanted_once_the_last_one_is_in_use)
{
    struct disk_make make;

    cr_expect(wal_wants_segment(wal, &make));
    cr_expect_eq(make.size, SEGMENT);
    cr_expect_str_eq(make.name, FIRST);
    add_segment();
    cr_expect_not(wal_wants_segment(wal, &make), "one is ready");
    commit("a");
    cr_expect(wal_wants_segment(wal, &make));
    cr_expect_str_eq(make.name, SECOND);
}

Test(wal, more_than_a_batch_is_synced_in_between)
{
    static uint8_t payload[BLOCK_MAX];
    unsigned before;

    add_segment();
    add_segment();
    before = memory_disk_syncs(disk);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(wal_append(wal, payload, BLOCK_MAX), ERR_OK);
        add_segment();
    }
    cr_expect_eq(memory_disk_syncs(disk), before + 1);
    sync_log();
    reopen();
    cr_expect_eq(seen.count, 5);
}

/* ---- marks ---- */

Test(wal, reading_goes_on_from_a_mark)
{
    struct wal_mark mark;

    add_segment();
    commit("a");
    commit("b");
    mark = wal_mark(wal);
    wal_close(wal);
    cr_assert_eq(open_from(&mark), ERR_OK);
    cr_expect_eq(seen.count, 0);
    commit("c");
    add_segment();
    wal_close(wal);
    cr_assert_eq(open_from(&mark), ERR_OK);
    cr_expect_str_eq(texts(), "c");
    cr_expect_neq(wal_mark(wal).lsn, mark.lsn);
}

Test(wal, a_mark_at_the_end_of_a_segment_goes_on_in_the_next_one)
{
    static uint8_t payload[BLOCK_MAX];
    struct wal_mark mark;

    add_segment();
    while (wal_mark(wal).lsn < SEGMENT) {
        size_t room = wal_room(wal);

        cr_assert_eq(wal_append(wal, payload, room < 200 * 1000 ? room : 200 * 1000),
                     ERR_OK);
        sync_log();
    }
    mark = wal_mark(wal);
    cr_assert_eq(mark.lsn, SEGMENT);
    add_segment();
    commit("next");
    wal_close(wal);
    cr_assert_eq(open_from(&mark), ERR_OK);
    cr_expect_str_eq(texts(), "next");
}

Test(wal, a_frame_that_does_not_follow_its_mark_is_not_read)
{
    struct wal_mark mark;
    struct wal_end end;

    add_segment();
    commit("a");
    mark = wal_mark(wal);
    commit("b");
    mark.check++;
    cr_expect_eq(scan_from(&mark, &end), ERR_OK);
    cr_expect_eq(seen.count, 0);
    cr_expect(end.torn);
}

Test(wal, a_mark_that_the_log_does_not_reach_is_an_error)
{
    struct wal_end end;

    add_segment();
    commit("a");
    cr_expect_eq(scan_from(&(struct wal_mark){.lsn = SEGMENT + 1, .check = 1}, &end),
                 ERR_CORRUPT);
    memory_disk_delete(disk, FIRST);
    cr_expect_eq(scan_from(&(struct wal_mark){.lsn = 97, .check = 1}, &end), ERR_CORRUPT);
    cr_expect_eq(scan(&end), ERR_OK, "nothing is needed of an empty log");
}

/* ---- a torn tail ---- */

/* Three frames in one batch, of which a crash left the first k bytes: for every k exactly
 * the frames that are whole are read, all behind them is zero, and stays so when power
 * fails at once. */
Test(wal, a_batch_torn_at_any_byte_is_cut_behind_its_last_whole_frame)
{
    static uint8_t zero[256];
    const size_t frame = WAL_FRAME_HEADER + 3;
    struct disk *whole;
    uint64_t start;

    add_segment();
    commit("a");
    start = wal_mark(wal).lsn;
    append("bbb");
    append("ccc");
    append("ddd");
    sync_log();
    wal_close(wal);
    whole = disk;
    for (size_t k = 0; k <= 3 * frame; k++) {
        disk = memory_disk_copy(whole);
        memory_disk_poke(disk, FIRST, start + k, zero, 3 * frame - k);
        cr_assert_eq(open_from(NULL), ERR_OK);
        cr_expect_eq(seen.count, 1 + k / frame, "torn after %zu bytes", k);
        cr_expect_eq(wal_mark(wal).lsn, start + k / frame * frame);
        crash();
        cr_expect(zero_from(FIRST, start + k / frame * frame));
        memory_disk_free(disk);
    }
    disk = whole;
}

/* Sectors of a torn write arrive in any order: a whole frame may stand behind a hole. */
Test(wal, what_stands_behind_a_hole_is_cut_too)
{
    uint64_t b;

    add_segment();
    commit("a");
    b = wal_mark(wal).lsn;
    append("bbb");
    append("ccc");
    sync_log();
    memory_disk_flip(disk, FIRST, b + WAL_FRAME_HEADER);
    wal_close(wal);
    cr_assert_eq(open_from(NULL), ERR_OK);
    cr_expect_str_eq(texts(), "a");
    cr_expect(zero_from(FIRST, b));
}

/* The dangerous case is the one where the same frame is written again: then the old one
 * behind it follows it, checksum and all, and only the zeros keep it dead. */
Test(wal, no_old_frame_comes_back_to_life)
{
    uint64_t b;

    add_segment();
    commit("a");
    b = wal_mark(wal).lsn;
    append("bbb");
    append("ccc");
    append("ddd");
    sync_log();
    memory_disk_flip(disk, FIRST, b + WAL_FRAME_HEADER);
    reopen();
    commit("bbb");
    reopen();
    cr_expect_str_eq(texts(), "a bbb");
}

Test(wal, shorter_frames_after_a_cut_leave_nothing_of_the_old_ones)
{
    uint64_t b;

    add_segment();
    commit("a");
    b = wal_mark(wal).lsn;
    append("a long frame, number one");
    append("a long frame, number two");
    append("a long frame, number three");
    sync_log();
    memory_disk_flip(disk, FIRST, b);
    reopen();
    commit("s");
    commit("t");
    reopen();
    cr_expect_str_eq(texts(), "a s t");
    cr_expect(zero_from(FIRST, wal_mark(wal).lsn));
}

/* The first write into a new segment is torn: the log ends in the old one, and goes on
 * there if there is room; what the tear left in the new one must not be found later. */
Test(wal, a_tear_at_the_start_of_a_segment_is_cut_in_both)
{
    struct wal_end end;
    unsigned frames = fill(2, 250 * 1000);
    char last[TEXT_MAX];

    cr_assert(zero_from(SECOND, WAL_SEGMENT_HEADER + 250 * 1000 + WAL_FRAME_HEADER));
    memory_disk_flip(disk, SECOND, WAL_SEGMENT_HEADER);
    reopen();
    cr_expect_eq(seen.count, frames - 1);
    cr_expect_lt(wal_mark(wal).lsn, SEGMENT);
    cr_expect(zero_from(SECOND, WAL_SEGMENT_HEADER));
    commit("small");
    cr_expect_lt(wal_mark(wal).lsn, SEGMENT, "the old segment has room for it");
    snprintf(last, sizeof last, "%s", "small");
    reopen();
    cr_expect_str_eq(seen.text[seen.count - 1], last);
    cr_expect_eq(scan(&end), ERR_OK);
    cr_expect_not(end.torn);
}

Test(wal, recovery_is_idempotent_and_a_scan_changes_nothing)
{
    struct disk *before, *once;
    const uint8_t *a, *b;
    struct wal_end end;
    size_t size;

    fill(2, 100 * 1000);
    append("torn");
    sync_log();
    memory_disk_flip(disk, SECOND, wal_mark(wal).lsn - SEGMENT - 1);
    before = memory_disk_copy(disk);
    cr_expect_eq(scan(&end), ERR_OK);
    cr_expect(end.torn);
    a = memory_disk_bytes(disk, SECOND, &size);
    b = memory_disk_bytes(before, SECOND, &size);
    cr_expect_arr_eq(a, b, size);
    reopen();
    once = memory_disk_copy(disk);
    reopen();
    for (const char *const *name = (const char *const[]){FIRST, SECOND, NULL};
         *name != NULL; name++) {
        a = memory_disk_bytes(disk, *name, &size);
        b = memory_disk_bytes(once, *name, &size);
        cr_expect_arr_eq(a, b, size, "%s", *name);
    }
    cr_expect_eq(memory_disk_count(disk), memory_disk_count(once));
    memory_disk_free(before);
    memory_disk_free(once);
}

Test(wal, a_crash_in_the_middle_of_a_recovery_is_recovered_from)
{
    uint64_t b;

    add_segment();
    commit("a");
    b = wal_mark(wal).lsn;
    append("bbb");
    append("ccc");
    sync_log();
    wal_close(wal);
    memory_disk_flip(disk, FIRST, b);
    for (unsigned nth = 1; nth <= 2; nth++) {
        memory_disk_fail_sync(disk, nth == 1);
        memory_disk_fail_write(disk, nth == 2);
        cr_expect_eq(open_from(NULL), ERR_IO);
        memory_disk_crash(disk);
    }
    cr_assert_eq(open_from(NULL), ERR_OK);
    cr_expect_str_eq(texts(), "a");
    cr_expect(zero_from(FIRST, b));
}

/* After a sync that failed, reads give what the disk does not have, and a further sync
 * has nothing to do. What recovery has read it must therefore write again before it says
 * that it is there. The frame is of many pages, since the zeros behind it have its last
 * one written anyhow. */
Test(wal, what_a_failed_sync_left_in_the_cache_is_written_again_before_it_is_relied_on)
{
    static char large[50 * 1000];

    memset(large, 'l', sizeof large);
    add_segment();
    commit("a");
    cr_assert_eq(wal_append(wal, large, sizeof large), ERR_OK);
    memory_disk_fail_sync(disk, 1);
    cr_expect_eq(wal_sync(wal), ERR_IO);
    wal_close(wal);
    cr_assert_eq(open_from(NULL), ERR_OK);
    cr_assert_eq(seen.count, 2);
    crash();
    cr_assert_eq(open_from(NULL), ERR_OK);
    cr_expect_eq(seen.count, 2);
}

/* One wrong bit in one of recovery's reads, wherever it strikes, may end the start; it
 * must neither be written to the disk nor have anything cut. */
Test(wal, a_byte_that_reads_wrong_once_does_no_harm)
{
    uint64_t end;
    unsigned nth = 0;
    enum err err;

    add_segment();
    commit("a");
    append("bbb");
    append("ccc");
    sync_log();
    end = wal_mark(wal).lsn;
    wal_close(wal);
    for (uint64_t at = WAL_SEGMENT_HEADER; at < end; at++) {
        for (nth = 1; nth <= 4; nth++) {
            memory_disk_misread(disk, FIRST, at, nth);
            err = open_from(NULL);
            cr_expect(err == ERR_OK || err == ERR_IO || err == ERR_CORRUPT);
            if (err == ERR_OK)
                wal_close(wal);
            memory_disk_crash(disk);
            memory_disk_misread(disk, FIRST, at, 0);
            cr_assert_eq(open_from(NULL), ERR_OK);
            cr_assert_str_eq(texts(), "a bbb ccc", "byte %" PRIu64 ", read %u", at, nth);
            wal_close(wal);
        }
    }
    wal = NULL;
}

Test(wal, a_failed_write_is_an_error)
{
    add_segment();
    append("a");
    memory_disk_fail_write(disk, 1);
    cr_expect_eq(wal_sync(wal), ERR_IO);
}

/* ---- rot ---- */

/* Each frame but the last batch's lies below a mark that a later frame carries. */
Test(wal, rot_in_any_byte_below_a_durable_mark_is_named_by_file_and_offset)
{
    struct wal_end end;
    uint64_t lsn[4];

    add_segment();
    for (size_t i = 0; i < 4; i++) {
        lsn[i] = wal_mark(wal).lsn == 0 ? WAL_SEGMENT_HEADER : wal_mark(wal).lsn;
        commit("frame");
    }
    for (size_t i = 0; i < 3; i++) {
        for (uint64_t at = lsn[i]; at < lsn[i + 1]; at++) {
            memory_disk_flip(disk, FIRST, at);
            cr_expect_eq(scan(&end), ERR_CORRUPT, "byte %" PRIu64, at);
            cr_expect_str_eq(end.file, FIRST);
            cr_expect_eq(end.offset, lsn[i]);
            cr_expect_eq(seen.count, i);
            memory_disk_flip(disk, FIRST, at);
        }
    }
    memory_disk_flip(disk, FIRST, lsn[3]);
    cr_expect_eq(scan(&end), ERR_OK, "no later frame knows that it was durable");
    cr_expect(end.torn);
    cr_expect_eq(end.offset, lsn[3]);
}

Test(wal, a_damaged_log_is_left_as_it_is)
{
    struct disk *before;
    const uint8_t *a, *b;
    size_t size;

    add_segment();
    commit("a");
    commit("b");
    commit("c");
    wal_close(wal);
    memory_disk_flip(disk, FIRST, WAL_SEGMENT_HEADER);
    before = memory_disk_copy(disk);
    cr_expect_eq(open_from(NULL), ERR_CORRUPT);
    a = memory_disk_bytes(disk, FIRST, &size);
    b = memory_disk_bytes(before, FIRST, &size);
    cr_expect_arr_eq(a, b, size);
    memory_disk_free(before);
}

Test(wal, rot_at_the_end_of_a_segment_is_seen_from_the_next_one)
{
    struct wal_end end;
    unsigned frames = fill(2, 100 * 1000);
    uint64_t last;

    cr_assert_eq(scan(&end), ERR_OK);
    last = seen.lsn[frames - 2];
    cr_assert_lt(last, SEGMENT);
    memory_disk_flip(disk, FIRST, last + 1000);
    cr_expect_eq(scan(&end), ERR_CORRUPT);
    cr_expect_str_eq(end.file, FIRST);
    cr_expect_eq(end.offset, last);
}

/* Before the first frame there is none to follow, so what makes a later segment's frame
 * wrong here is only that it is not where the log begins. */
Test(wal, rot_in_the_first_frame_does_not_make_the_log_begin_in_the_second_segment)
{
    struct wal_end end;

    fill(3, 200 * 1000);
    memory_disk_flip(disk, FIRST, WAL_SEGMENT_HEADER + WAL_FRAME_HEADER);
    cr_expect_eq(scan(&end), ERR_CORRUPT);
    cr_expect_eq(seen.count, 0);
    cr_expect_str_eq(end.file, FIRST);
    cr_expect_eq(end.offset, WAL_SEGMENT_HEADER);
}

Test(wal, rot_in_a_segment_s_header_is_an_error)
{
    struct wal_end end;

    fill(2, 200 * 1000);
    for (uint64_t at = 0; at < 48; at++) {
        bool format = at >= 8 && at < 12; /* It may be a newer one. */

        memory_disk_flip(disk, SECOND, at);
        cr_expect_eq(scan(&end), format ? ERR_VERSION : ERR_CORRUPT, "byte %" PRIu64, at);
        cr_expect_str_eq(end.file, SECOND);
        cr_expect_eq(end.offset, 0);
        memory_disk_flip(disk, SECOND, at);
    }
}

Test(wal, a_frame_in_another_place_than_its_own_is_none)
{
    const uint8_t *bytes;
    struct wal_end end;
    uint64_t at;
    size_t size;

    add_segment();
    commit("aaa");
    at = wal_mark(wal).lsn;
    bytes = memory_disk_bytes(disk, FIRST, &size);
    memory_disk_poke(disk, FIRST, at, bytes + WAL_SEGMENT_HEADER, WAL_FRAME_HEADER + 3);
    cr_expect_eq(scan(&end), ERR_OK);
    cr_expect_eq(seen.count, 1);
    cr_expect(end.torn);
}

/* ---- segments that are missing, newer, or to be removed ---- */

Test(wal, a_missing_segment_is_refused)
{
    struct wal_end end;

    fill(3, 200 * 1000);
    memory_disk_delete(disk, SECOND);
    cr_expect_eq(scan(&end), ERR_CORRUPT);
    cr_expect_str_eq(end.file, THIRD);
}

Test(wal, a_mark_below_the_oldest_segment_is_refused)
{
    struct wal_mark mark;
    struct wal_end end;

    add_segment();
    commit("a");
    mark = wal_mark(wal);
    fill(2, 200 * 1000);
    memory_disk_delete(disk, FIRST);
    cr_expect_eq(scan_from(&mark, &end), ERR_CORRUPT);
}

Test(wal, a_newer_format_is_refused_as_such)
{
    struct wal_end end;

    add_segment();
    commit("a");
    memory_disk_poke(disk, FIRST, 8, &(uint8_t){WAL_FORMAT + 1}, 1);
    cr_expect_eq(scan(&end), ERR_VERSION);
    cr_expect_str_eq(end.file, FIRST);
}

Test(wal, a_segment_that_is_shorter_or_longer_than_its_header_says_is_refused)
{
    static uint8_t bytes[SEGMENT + 1];
    const uint8_t *now;
    struct wal_end end;
    size_t size;

    add_segment();
    commit("a");
    now = memory_disk_bytes(disk, FIRST, &size);
    memcpy(bytes, now, size);
    wal_close(wal);
    wal = NULL;
    memory_disk_put(disk, FIRST, bytes, SEGMENT - 1);
    cr_expect_eq(scan(&end), ERR_CORRUPT);
    memory_disk_put(disk, FIRST, bytes, SEGMENT + 1);
    cr_expect_eq(scan(&end), ERR_CORRUPT);
    memory_disk_put(disk, FIRST, bytes, 10);
    cr_expect_eq(scan(&end), ERR_CORRUPT);
    memory_disk_put(disk, FIRST, bytes, SEGMENT);
    cr_expect_eq(scan(&end), ERR_OK);
}

Test(wal, files_of_another_name_are_none_of_the_log_s)
{
    struct wal_end end;

    add_segment();
    commit("a");
    memory_disk_put(disk, "1.log", "x", 1);
    memory_disk_put(disk, "0000000000000002.log.new", "x", 1);
    memory_disk_put(disk, "+000000000000002.log", "x", 1);
    memory_disk_put(disk, "0000000000000002.checkpoint", "x", 1);
    cr_expect_eq(scan(&end), ERR_OK);
    cr_expect_str_eq(texts(), "a");
}

Test(wal, segments_below_an_lsn_are_released_and_no_other)
{
    unsigned frames = fill(3, 200 * 1000);
    struct wal_end end;

    cr_expect_eq(wal_release(wal, SEGMENT - 1), ERR_OK);
    cr_expect(memory_disk_has(disk, FIRST));
    cr_expect_eq(wal_release(wal, 2 * SEGMENT - 1), ERR_OK);
    cr_expect_not(memory_disk_has(disk, FIRST));
    cr_expect(memory_disk_has(disk, SECOND));
    cr_expect_eq(memory_disk_archived(disk), 1);
    cr_expect_eq(wal_first(wal), SEGMENT);
    cr_expect_eq(wal_release(wal, UINT64_MAX), ERR_OK);
    cr_expect(memory_disk_has(disk, THIRD), "the one that is written stays");
    commit("more");
    cr_expect_eq(scan(&end), ERR_OK);
    cr_expect_lt(seen.count, frames);
    cr_expect_str_eq(seen.text[seen.count - 1], "more");
    cr_expect_eq(end.first, 2 * SEGMENT);
}

Test(wal, what_the_archive_does_not_take_stays)
{
    fill(3, 200 * 1000);
    memory_disk_refuse_archive(disk, true);
    cr_expect_eq(wal_release(wal, UINT64_MAX), ERR_OK);
    cr_expect(memory_disk_has(disk, FIRST));
    cr_expect_eq(wal_first(wal), 0);
    memory_disk_refuse_archive(disk, false);
    cr_expect_eq(wal_release(wal, UINT64_MAX), ERR_OK);
    cr_expect_not(memory_disk_has(disk, FIRST));
}

/* ---- following the log ---- */

/* All that the reader gives now, as texts() says it. */
static enum err follow(struct wal_reader *r)
{
    struct wal_frame frame;
    enum err err;

    seen.count = 0;
    while ((err = wal_reader_next(r, &frame)) == ERR_OK)
        see(NULL, &frame);
    return err;
}

static void expect_followed(struct wal_reader *r, const char *expected)
{
    cr_assert_eq(follow(r), ERR_AGAIN);
    cr_expect_str_eq(texts(), expected);
    cr_expect_eq(wal_reader_lsn(r), wal_mark(wal).lsn);
}

Test(wal, a_reader_gives_what_is_durable_and_later_what_has_become_so)
{
    struct wal_reader *r = wal_reader_new(wal, 0);

    cr_assert_eq(follow(r), ERR_AGAIN);
    add_segment();
    commit("a");
    append("b");
    expect_followed(r, "a");
    sync_log();
    expect_followed(r, "b");
    wal_reader_free(r);
}

Test(wal, a_reader_that_keeps_up_reads_each_byte_once)
{
    struct wal_reader *r;
    uint64_t before, from;

    add_segment();
    r = wal_reader_new(wal, 0);
    commit("a");
    follow(r);
    from = wal_mark(wal).lsn;
    before = memory_disk_read(disk);
    for (unsigned i = 0; i < 100; i++) {
        commit("more");
        expect_followed(r, "more");
    }
    cr_expect_eq(memory_disk_read(disk) - before, wal_mark(wal).lsn - from);
    wal_reader_free(r);
}

Test(wal,
     a_reader_that_is_behind_reads_what_is_appended_meanwhile_only_when_it_gets_there)
{
    struct wal_reader *r;
    struct wal_frame frame;
    uint64_t before, all;

    add_segment();
    for (unsigned i = 0; i < 100; i++)
        commit("early");
    all = wal_mark(wal).lsn;
    r = wal_reader_new(wal, 0);
    before = memory_disk_read(disk);
    for (unsigned i = 0; i < 100; i++) {
        cr_assert_eq(wal_reader_next(r, &frame), ERR_OK);
        commit("late");
    }
    cr_expect_leq(memory_disk_read(disk) - before, all);
    wal_reader_free(r);
}

Test(wal, a_reader_goes_on_in_the_next_segment)
{
    struct wal_reader *r = wal_reader_new(wal, 0);
    unsigned frames = fill(3, 200 * 1000);

    cr_assert_eq(follow(r), ERR_AGAIN);
    cr_expect_eq(seen.count, frames);
    wal_reader_free(r);
}

Test(wal, a_reader_goes_on_behind_a_segment_that_is_full_to_its_last_byte)
{
    static const char payload[BLOCK_MAX] = "x";
    struct wal_reader *r = wal_reader_new(wal, 0);
    size_t len = 200 * 1000, left;

    add_segment();
    do {
        cr_assert_eq(wal_append(wal, payload, len), ERR_OK);
        sync_log();
        left = SEGMENT - (size_t)wal_mark(wal).lsn;
        len = left < BLOCK_MAX ? left - WAL_FRAME_HEADER : 200 * 1000;
    } while (left > 0);
    cr_assert_eq(follow(r), ERR_AGAIN);
    add_segment();
    commit("next");
    expect_followed(r, "next");
    wal_reader_free(r);
}

Test(wal, a_reader_whose_place_was_released_says_so)
{
    struct wal_reader *r = wal_reader_new(wal, 0);
    struct wal_frame frame;

    fill(3, 200 * 1000);
    cr_assert_eq(wal_release(wal, wal_mark(wal).lsn), ERR_OK);
    cr_expect_eq(wal_reader_next(r, &frame), ERR_NOT_FOUND);
    wal_reader_free(r);
}

/* ---- golden file ---- */

/* Whose blocks a segment holds does not matter: these are of the golden files, too. */
static uint8_t *golden_blocks[3];
static size_t golden_len[3];

static void read_golden_blocks(void)
{
    static const char *const names[] = {"block-1-first", "block-1-next",
                                        "block-1-second-stream"};

    for (size_t i = 0; i < 3; i++)
        golden_blocks[i] = golden_read(TESTS_DIR, names[i], &golden_len[i]);
}

static void free_golden_blocks(void)
{
    for (size_t i = 0; i < 3; i++)
        free(golden_blocks[i]);
}

/* Three blocks in two batches: the second batch says up to where the first had made the
 * log durable. */
Test(wal, a_segment_of_format_1_is_read)
{
    static const size_t batch[] = {0, 1, 1};
    size_t len;
    uint8_t *golden = golden_read(TESTS_DIR, "segment-1", &len);
    struct wal_end end;

    read_golden_blocks();
    memory_disk_put(disk, FIRST, golden, len);
    cr_assert_eq(scan(&end), ERR_OK);
    cr_assert_eq(seen.count, 3);
    for (size_t i = 0; i < 3; i++) {
        cr_expect_eq(seen.len[i], golden_len[i]);
        cr_expect_arr_eq(golden + seen.lsn[i] + WAL_FRAME_HEADER, golden_blocks[i],
                         golden_len[i]);
    }
    cr_expect_eq(end.durable, seen.lsn[batch[2]]);
    cr_expect_eq(end.mark.lsn, seen.lsn[2] + WAL_FRAME_HEADER + golden_len[2]);
    cr_expect_not(end.torn);
    free_golden_blocks();
    free(golden);
}

Test(wal, the_same_blocks_make_the_same_segment_as_ever)
{
    const uint8_t *bytes;
    size_t size;

    cr_assert_eq(WAL_FORMAT, 1, "a new format needs a new golden file, beside this one");
    read_golden_blocks();
    add_segment();
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(wal_append(wal, golden_blocks[i], golden_len[i]), ERR_OK);
        if (i != 1)
            sync_log();
    }
    bytes = memory_disk_bytes(disk, FIRST, &size);
    cr_expect_eq(golden_differs(TESTS_DIR, "segment-1", bytes, size), -1);
    free_golden_blocks();
}

Test(wal, a_read_that_failed_is_made_again_and_is_no_damage)
{
    struct wal_reader *r = wal_reader_new(wal, 0);

    add_segment();
    commit("a");
    expect_followed(r, "a");
    commit("b");
    memory_disk_fail_read(disk, 1);
    cr_expect_eq(follow(r), ERR_IO);
    expect_followed(r, "b");
    wal_reader_free(r);
}

/* tests/unit/test_verify.c: what is wrong in a log is found, and named by file and offset; and what
 * is only read is never changed. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "replica/checkpoint.h"
#include "replica/forks.h"
#include "replica/look.h"
#include "replica/streams.h"
#include "replica/verify.h"
#include "tests/unit/node_folder.h"

static struct node_folder folder;
static struct disk *disk;
static struct verify_report report;

static void begin(void)
{
    /* Alarms are what these tests are about; the report is what they look at. */
    cr_assert_eq(dup2(open("/dev/null", O_WRONLY), STDERR_FILENO), STDERR_FILENO);
    node_folder_open(&folder);
    cr_assert_eq(look_disk_open(folder.path, &disk), ERR_OK);
}

static void end(void)
{
    look_disk_close(disk);
    node_folder_remove(&folder);
}

TestSuite(verify, .init = begin, .fini = end);

static enum err verify(void)
{
    return verify_log(disk, &crypto_real, NULL, UINT64_MAX, &report);
}

static int open_file(const char *name)
{
    char path[256];
    int fd;

    snprintf(path, sizeof path, "%s/%s", folder.path, name);
    fd = open(path, O_RDWR);
    cr_assert_geq(fd, 0, "%s", path);
    return fd;
}

static void flip(const char *name, uint64_t offset)
{
    int fd = open_file(name);
    uint8_t byte;

    cr_assert_eq(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= 1;
    cr_assert_eq(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

static const char segment[] = "0000000000000001.log";

/* Where the frame number `wanted` begins, from 1, and how long its block is. */
struct place {
    uint64_t wanted, lsn;
    size_t len;
};

static enum err find_frame(void *arg, const struct wal_frame *frame)
{
    struct place *place = arg;

    if (--place->wanted > 0)
        return ERR_OK;
    place->lsn = frame->lsn;
    place->len = frame->len;
    return ERR_AGAIN;
}

static struct place frame_at(uint64_t number)
{
    struct place place = {.wanted = number};
    struct wal_end log_end;

    cr_assert_eq(wal_scan(disk, NULL, find_frame, &place, &log_end), ERR_AGAIN);
    return place;
}

static void count_some(unsigned blocks)
{
    for (unsigned i = 0; i < blocks; i++)
        node_folder_count(&folder, i % 2 == 0 ? "hits" : "votes", 1, "tag");
}

Test(verify, a_log_as_it_was_written_is_good)
{
    count_some(10);
    node_folder_stop(&folder);
    cr_expect_eq(verify(), ERR_OK, "%s", report.reason);
    cr_expect_eq(report.blocks, 10);
    cr_expect_eq(report.counts, 10);
    cr_expect_eq(report.streams, 1);
    cr_expect_eq(report.checkpoints, 0);
    cr_expect_str_eq(report.reason, "");
}

Test(verify, blocks_of_many_counts_on_many_counters_are_good)
{
    struct node_time now = {1, 1};

    for (int i = 0; i < 30; i++) {
        struct msg_count_req req = {
            .amount = 1 - i, .name_len = 1, .name = {(char)('a' + i % 3)}};

        randombytes_buf(&req.id, sizeof req.id);
        cr_assert_eq(node_count(folder.node, &req, 1, now), ERR_OK);
        if (i % 10 == 9)
            cr_assert_eq(node_commit(folder.node, now), ERR_OK);
    }
    node_folder_stop(&folder);
    cr_expect_eq(verify(), ERR_OK, "%s", report.reason);
    cr_expect_eq(report.blocks, 3);
    cr_expect_eq(report.counts, 30);
}

Test(verify, an_empty_log_is_good)
{
    node_folder_stop(&folder);
    cr_expect_eq(verify(), ERR_OK, "%s", report.reason);
    cr_expect_eq(report.blocks, 0);
}

Test(verify, streams_and_checkpoints_follow_from_the_log)
{
    for (int i = 0; i < 4; i++) {
        count_some(5);
        node_folder_checkpoint(&folder);
        count_some(3);
        node_folder_stop(&folder);
        node_folder_start(&folder);
    }
    node_folder_stop(&folder);
    cr_expect_eq(verify(), ERR_OK, "%s", report.reason);
    cr_expect_eq(report.checkpoints, 2);
    cr_expect_eq(report.streams, 4);
    cr_expect_eq(report.blocks, 32);
}

/* After a few checkpoints, old segments go, and the log begins in the middle of a stream. */
Test(verify, a_log_whose_beginning_was_released_is_good)
{
    for (int i = 0; i < 5; i++) {
        for (int j = 0; j < 2500; j++)
            node_folder_count(&folder, "hits", 1, "a tag that makes the log grow");
        node_folder_checkpoint(&folder);
    }
    count_some(3);
    node_folder_stop(&folder);
    cr_expect_eq(verify(), ERR_OK, "%s", report.reason);
    cr_expect_gt(report.end.first, 0, "a segment went");
    cr_expect_gt(report.blocks, 5000);
}

Test(verify, a_changed_byte_anywhere_in_a_block_is_found_where_it_is)
{
    struct place place;

    count_some(10);
    node_folder_stop(&folder);
    place = frame_at(4);
    for (size_t i = 0; i < WAL_FRAME_HEADER + place.len; i++) {
        flip(segment, place.lsn + i);
        cr_assert_eq(verify(), ERR_CORRUPT, "byte %zu", i);
        cr_expect_str_eq(report.file, segment);
        cr_assert_eq(report.offset, place.lsn, "byte %zu: %" PRIu64, i, report.offset);
        flip(segment, place.lsn + i);
    }
    cr_expect_eq(verify(), ERR_OK, "%s", report.reason);
}

Test(verify, a_changed_checkpoint_is_found_and_the_other_one_still_serves)
{
    char name[DISK_NAME_MAX + 1];

    for (int i = 0; i < 2; i++) {
        count_some(5);
        node_folder_checkpoint(&folder);
    }
    node_folder_stop(&folder);
    for (uint64_t number = 1; number <= 2; number++) {
        checkpoint_name(number, name);
        flip(name, 70);
        cr_expect_eq(verify(), ERR_CORRUPT);
        cr_expect_str_eq(report.file, name);
        cr_expect_eq(report.checkpoints, 1);
        cr_expect_eq(report.blocks, 10, "the log is read all the same");
        flip(name, 70);
    }
    cr_expect_eq(verify(), ERR_OK);
}

/* The bytes of a block, as the log's writer made it, with other contents, hashed and framed anew. */
struct forgery {
    uint8_t bytes[64 * 1024];
    size_t len;
    struct key_pair key;
    struct id stream, cluster;
    bool provisional;
    struct hash previous;
};

/* Append a block of one count to f, signed with f->key; `before` is what it says to have stood. */
static void forge(struct forgery *f, uint64_t number, int64_t before)
{
    struct block head = {.stream = f->stream,
                         .number = number,
                         .previous = f->previous,
                         .stamp_ms = 1,
                         .groups = 1};
    struct writer w = writer_of(f->bytes, sizeof f->bytes);
    struct id id;

    head.origin.cluster = f->cluster;
    head.origin.provisional = f->provisional;
    head.origin.key = f->key.public;
    head.origin.name_len = 3;
    memcpy(head.origin.name, "one", 3);
    randombytes_buf(&id, sizeof id);
    block_put_head(&w, &head);
    block_put_group(&w, counter_component.number, "hits", 4, before, 1);
    block_put_op(&w, OP_ADD, &id, 1, "", 0);
    block_seal(&w, &crypto_real, &f->key, &f->previous);
    cr_assert_not(w.full);
    f->len = w.len;
}

/* A log of its own for blocks that no node would write. */
static struct wal *forged_log(struct disk **writable)
{
    struct disk_make make;
    struct wal *wal;
    enum err err;

    cr_assert_eq(
        disk_posix_open(folder.path, NULL, node_folder_notify, &folder, writable),
        ERR_OK);
    cr_assert_eq(wal_open(*writable, 1 << 20, NULL, NULL, NULL, &wal), ERR_OK);
    if (wal_wants_segment(wal, &make)) {
        struct pollfd made = {.fd = folder.made, .events = POLLIN};

        cr_assert_eq((*writable)->ops->make(*writable, &make), ERR_OK);
        while ((err = (*writable)->ops->made(*writable)) == ERR_AGAIN)
            cr_assert_eq(poll(&made, 1, 20000), 1);
        cr_assert_eq(err, ERR_OK);
        cr_assert_eq(wal_segment_made(wal), ERR_OK);
    }
    return wal;
}

static void append(struct wal *wal, const struct forgery *f)
{
    cr_assert_eq(wal_append(wal, f->bytes, f->len), ERR_OK);
    cr_assert_eq(wal_sync(wal), ERR_OK);
}

static void forge_begin(struct forgery *f)
{
    memset(f, 0, sizeof *f);
    crypto_sign_keypair(f->key.public.byte, f->key.secret);
    randombytes_buf(&f->stream, sizeof f->stream);
    randombytes_buf(&f->cluster, sizeof f->cluster);
}

static void forged(void (*spoil)(struct forgery *f), enum err expected,
                   const char *reason)
{
    static struct forgery f;
    struct disk *writable;
    struct wal *wal;

    node_folder_stop(&folder);
    wal = forged_log(&writable);
    forge_begin(&f);
    forge(&f, 1, 0);
    append(wal, &f);
    forge(&f, 2, 1);
    append(wal, &f);
    spoil(&f);
    append(wal, &f);
    wal_close(wal);
    disk_posix_close(writable);
    cr_expect_eq(verify(), expected, "%s", err_name(report.reason[0] == '\0'));
    cr_expect_str_eq(report.reason, reason);
    if (expected == ERR_CORRUPT) {
        cr_expect_str_eq(report.file, segment);
        cr_expect_eq(report.offset, frame_at(3).lsn);
    }
}

static void spoil_nothing(struct forgery *f)
{
    forge(f, 3, 2);
}
Test(verify, blocks_made_by_hand_are_good_where_they_are_right)
{
    forged(spoil_nothing, ERR_OK, "");
}

static void put_doubt(struct forgery *f)
{
    f->bytes[0] = BLOCK_DOUBT;
    memcpy(f->bytes + 1, &f->stream, sizeof f->stream);
    f->len = BLOCK_DOUBT_BYTES;
}
Test(verify, a_record_of_doubt_is_no_damage)
{
    forged(put_doubt, ERR_OK, "");
}

static void put_short_doubt(struct forgery *f)
{
    put_doubt(f);
    f->len--;
}
Test(verify, a_record_of_doubt_that_is_none_is_found)
{
    forged(put_short_doubt, ERR_CORRUPT, "a record of doubt that is none");
}

static void put_joins(struct forgery *f)
{
    f->bytes[0] = BLOCK_JOINS;
    f->bytes[1] = 1;
    f->len = BLOCK_JOINS_BYTES;
}
Test(verify, a_record_of_joining_is_no_damage)
{
    forged(put_joins, ERR_OK, "");
}

static void spoil_signature(struct forgery *f)
{
    forge(f, 3, 2);
    f->bytes[f->len - 1] ^= 1;
}
Test(verify, a_signature_that_does_not_fit_is_found)
{
    forged(spoil_signature, ERR_CORRUPT, "the signature of block 3 does not fit");
}

static void spoil_key(struct forgery *f)
{
    crypto_sign_keypair(f->key.public.byte, f->key.secret);
    forge(f, 3, 2);
}
Test(verify, a_block_signed_with_another_key_is_found)
{
    forged(spoil_key, ERR_CORRUPT, "the signature of block 3 does not fit");
}

static void spoil_chain(struct forgery *f)
{
    f->previous.byte[0] ^= 1;
    forge(f, 3, 2);
}
Test(verify, a_block_that_does_not_follow_is_found)
{
    forged(spoil_chain, ERR_CORRUPT, "block 3 does not follow the one before it");
}

static void spoil_gap(struct forgery *f)
{
    forge(f, 4, 2);
}
Test(verify, a_missing_block_is_found)
{
    forged(spoil_gap, ERR_CORRUPT, "block 4 does not follow the one before it");
}

static void spoil_number(struct forgery *f)
{
    forge(f, 3, 3);
}
/* The one counted when it held the other's blocks, which came here after its own. */
Test(verify, with_peers_a_number_need_not_follow_from_the_blocks_before_it)
{
    static struct forgery one, other;
    struct disk *writable;
    struct wal *wal;

    node_folder_stop(&folder);
    wal = forged_log(&writable);
    forge_begin(&one);
    forge_begin(&other);
    other.cluster = one.cluster;
    forge(&one, 1, 1);
    append(wal, &one);
    forge(&other, 1, 0);
    append(wal, &other);
    wal_close(wal);
    disk_posix_close(writable);
    cr_expect_eq(verify(), ERR_OK, "%s", report.reason);
    cr_expect_eq(report.blocks, 2);
}

/* A copy of its machine, which counted meanwhile under the same key. */
Test(verify, with_peers_that_is_so_of_blocks_with_the_nodes_own_key_too)
{
    static struct forgery one, copy;
    struct disk *writable;
    struct wal *wal;

    node_folder_stop(&folder);
    wal = forged_log(&writable);
    forge_begin(&one);
    forge_begin(&copy);
    copy.cluster = one.cluster;
    copy.key = one.key;
    one.provisional = copy.provisional = true;
    forge(&one, 1, 1);
    append(wal, &one);
    forge(&copy, 1, 0);
    append(wal, &copy);
    wal_close(wal);
    disk_posix_close(writable);
    cr_expect_eq(verify(), ERR_OK, "%s", report.reason);
    cr_expect_eq(report.blocks, 2);
}

Test(verify, a_number_that_was_never_reached_is_found)
{
    forged(spoil_number, ERR_CORRUPT,
           "block 3 says that hits stood at 3 before it, and it stood at 2");
}

/* Checkpoints that are whole and signed, and say something else than the log. */

struct partial {
    struct core *core;
    uint64_t blocks; /* to apply */
};

static enum err apply_some(void *arg, const struct wal_frame *frame)
{
    struct partial *partial = arg;

    if (partial->blocks == 0)
        return ERR_AGAIN;
    partial->blocks--;
    return core_replay(partial->core, frame->bytes, frame->len);
}

/* Put a checkpoint in the place of number `number`: of the same mark, without the last block; proof: kept of its only stream. */
static void forge_checkpoint(uint64_t number, uint64_t blocks, struct fork_proof *proof)
{
    const struct core_config *config = &folder.config.core;
    struct partial partial = {.core = core_new(config), .blocks = blocks};
    struct checkpoint real;
    struct checkpoint_draft *draft;
    struct disk_make make;
    struct wal_end log_end;
    char path[256];
    FILE *file;

    cr_assert_eq(checkpoint_load(disk, number, &crypto_real, NULL, &real), ERR_OK);
    wal_scan(disk, NULL, apply_some, &partial, &log_end);
    cr_assert_eq(partial.blocks, 0);
    if (proof != NULL) {
        struct streams *streams = (struct streams *)(uintptr_t)core_streams(partial.core);

        streams->table->frozen = true;
        streams_set_proof(streams, streams->table, proof);
    }
    cr_assert_eq(checkpoint_draft_new(partial.core, &real.mark, number, &crypto_real,
                                      &config->key, &draft),
                 ERR_OK);
    while (checkpoint_draft_step(draft, SIZE_MAX, &make) == ERR_AGAIN)
        ;
    make.complete(make.arg);
    snprintf(path, sizeof path, "%s/%s", folder.path, make.name);
    file = fopen(path, "w");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(make.bytes, 1, make.len, file), make.len);
    fclose(file);
    checkpoint_draft_free(draft);
    core_free(partial.core);
}

static void forged_checkpoint(uint64_t number, uint64_t blocks)
{
    char name[DISK_NAME_MAX + 1];

    checkpoint_name(number, name);
    forge_checkpoint(number, blocks, NULL);
    cr_expect_eq(verify(), ERR_OK, "%s", report.reason);
    forge_checkpoint(number, blocks - 1, NULL);
    cr_expect_eq(verify(), ERR_CORRUPT);
    cr_expect_str_eq(report.reason,
                     "the checkpoint does not follow from the log before it");
    cr_expect_str_eq(report.file, name);
}

Test(verify, a_first_checkpoint_that_the_log_does_not_lead_to_is_found)
{
    count_some(5);
    node_folder_checkpoint(&folder);
    node_folder_stop(&folder);
    forged_checkpoint(1, 5);
}

Test(verify, a_second_checkpoint_that_the_log_does_not_lead_to_is_found)
{
    count_some(5);
    node_folder_checkpoint(&folder);
    count_some(5);
    node_folder_checkpoint(&folder);
    count_some(2);
    node_folder_stop(&folder);
    forged_checkpoint(2, 10);
}

/* A first block of the stream that the node of the folder writes, of so many blocks before it. */
static void forge_half(struct forgery *f, uint64_t number, struct fork_proof *proof)
{
    struct core_figures figures;

    memset(f, 0, sizeof *f);
    f->key = folder.config.core.key;
    core_figures(node_core(folder.node), &figures);
    f->stream = figures.stream;
    f->cluster = figures.cluster;
    forge(f, number, 0);
    cr_assert_eq(fork_add(proof, &crypto_real, f->bytes, f->len), ERR_OK);
}

enum { WHOLE, ONE_HALF, SIGNED_WRONGLY, OF_ANOTHER_STREAM, MUTILATED, PROOFS };

/* What checkpoint 1 or 2 keeps as proof. */
static void with_proof(uint64_t number, int what, enum err expected)
{
    static struct forgery f;
    struct fork_proof proof = {0};
    char name[DISK_NAME_MAX + 1];

    checkpoint_name(number, name);
    forge_half(&f, 1, &proof);
    if (what != ONE_HALF)
        forge_half(&f, 1, &proof);
    if (what == SIGNED_WRONGLY)
        proof.bytes[proof.len - 1] ^= 1;
    if (what == OF_ANOTHER_STREAM) {
        fork_clear(&proof);
        forge_begin(&f);
        forge(&f, 1, 0);
        cr_assert_eq(fork_add(&proof, &crypto_real, f.bytes, f.len), ERR_OK);
    }
    if (what == MUTILATED)
        proof.blocks = 1;
    forge_checkpoint(number, number == 1 ? 5 : 10, &proof);
    cr_expect_eq(verify(), expected, "checkpoint %d, case %d", (int)number, what);
    if (expected != ERR_OK) {
        cr_expect_str_eq(report.file, name);
        cr_expect_str_eq(report.reason,
                         "what it keeps as proof that a stream forks proves nothing");
    }
}

Test(verify, a_checkpoint_that_keeps_a_proof_of_a_fork_that_proves_nothing_is_found)
{
    count_some(5);
    node_folder_checkpoint(&folder);
    count_some(5);
    node_folder_checkpoint(&folder);
    count_some(2);
    for (uint64_t number = 1; number <= 2; number++)
        for (int what = PROOFS - 1; what >= 0; what--)
            with_proof(number, what, what <= ONE_HALF ? ERR_OK : ERR_CORRUPT);
    node_folder_stop(&folder);
}

Test(verify, what_a_crash_tore_at_the_end_is_no_damage)
{
    struct place place;

    count_some(5);
    node_folder_stop(&folder);
    place = frame_at(5);
    flip(segment, place.lsn + WAL_FRAME_HEADER);
    cr_expect_eq(verify(), ERR_OK, "%s", report.reason);
    cr_expect_eq(report.blocks, 4);
    cr_expect(report.end.torn);
}

Test(verify, what_a_checkpoint_vouches_for_cannot_be_torn)
{
    struct place place;

    count_some(5);
    node_folder_checkpoint(&folder);
    node_folder_stop(&folder);
    place = frame_at(5);
    flip(segment, place.lsn + WAL_FRAME_HEADER);
    cr_expect_eq(verify(), ERR_CORRUPT);
    cr_expect_str_eq(report.file, segment);
    cr_expect_eq(report.offset, place.lsn);
}

Test(verify, what_no_checksum_covers_has_to_be_zeros)
{
    count_some(5);
    node_folder_stop(&folder);
    flip(segment, WAL_SEGMENT_HEADER - 1);
    cr_expect_eq(verify(), ERR_CORRUPT);
    cr_expect_str_eq(report.file, segment);
    cr_expect_eq(report.offset, WAL_SEGMENT_HEADER - 1);
}

Test(verify, what_stands_behind_the_limit_is_not_looked_at)
{
    struct place place;

    count_some(10);
    node_folder_stop(&folder);
    place = frame_at(6);
    flip(segment, place.lsn + WAL_FRAME_HEADER);
    cr_expect_eq(verify_log(disk, &crypto_real, NULL, place.lsn, &report), ERR_OK, "%s",
                 report.reason);
    cr_expect_eq(report.blocks, 5);
    cr_expect_eq(verify(), ERR_CORRUPT);
}

/* ---- look ---- */

static uint64_t folder_sum(void)
{
    DIR *entries = opendir(folder.path);
    const struct dirent *entry;
    uint64_t sum = 0;

    cr_assert_not_null(entries);
    while ((entry = readdir(entries)) != NULL) {
        struct stat st;

        cr_assert_eq(fstatat(dirfd(entries), entry->d_name, &st, 0), 0);
        if (S_ISREG(st.st_mode))
            sum += (uint64_t)st.st_size + (uint64_t)st.st_mtim.tv_nsec +
                   (uint64_t)st.st_ctim.tv_nsec + st.st_ino;
    }
    closedir(entries);
    return sum;
}

Test(verify, looking_finds_what_a_recovery_would_and_changes_nothing)
{
    struct node_figures figures;
    struct look look;
    uint64_t before;
    char path[128];
    int fd;

    count_some(5);
    node_folder_checkpoint(&folder);
    count_some(4);
    node_figures(folder.node, &figures);
    node_folder_stop(&folder);
    /* A file that a crash left half made is removed at the next start, and not before. */
    snprintf(path, sizeof path, "%s/0000000000000002.log.new", folder.path);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    cr_assert_geq(fd, 0);
    close(fd);
    before = folder_sum();
    cr_assert_eq(look_open(disk, &folder.config.core.key.public, &look), ERR_OK);
    cr_expect_eq(look.figures.recovered_blocks, 4);
    cr_expect_eq(look.figures.checkpoint, 1);
    cr_expect_eq(look.figures.checkpoint_lsn, figures.checkpoint_lsn);
    cr_expect_eq(look.figures.end.lsn, figures.end.lsn);
    cr_expect_eq(look.figures.core.items, 2);
    cr_expect(hash_equal(&look.figures.core.end.hash, &figures.core.end.hash));
    look_close(&look);
    cr_expect_eq(verify(), ERR_OK);
    cr_expect_eq(folder_sum(), before);
}

Test(verify, looking_says_what_is_damaged)
{
    struct look look;

    count_some(5);
    node_folder_stop(&folder);
    flip(segment, frame_at(2).lsn);
    cr_expect_eq(look_open(disk, &folder.config.core.key.public, &look), ERR_CORRUPT);
}

Test(verify, a_folder_that_is_not_there_is_an_error)
{
    struct disk *none;

    node_folder_stop(&folder);
    cr_expect_eq(look_disk_open("/nonexistent/log", &none), ERR_NOT_FOUND);
}

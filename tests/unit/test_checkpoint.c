/* tests/unit/test_checkpoint.c: a checkpoint: made whole, checked whole, and format 1
 * read for ever. */
#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "replica/checkpoint.h"
#include "tests/lib/golden.h"
#include "tests/lib/history.h"
#include "tests/lib/memory_disk.h"

#define FIRST "0000000000000001.checkpoint"

static const struct wal_mark mark = {.lsn = 0x1122334455, .check = 0x8877665544332211};

static struct disk *disk;
static struct history history;
static struct core *core; /* of the golden history */
static struct key_pair key;

static void set_up(void)
{
    cr_assert_geq(sodium_init(), 0);
    disk = memory_disk_new();
    key = history_key(1);
    history_golden(&history, &core);
}

static void tear_down(void)
{
    memory_disk_free(disk);
    history_free(&history);
    core_free(core);
}

TestSuite(checkpoint, .init = set_up, .fini = tear_down);

static void make(uint64_t number)
{
    struct checkpoint_draft *draft;
    struct disk_make m;

    cr_assert_eq(checkpoint_draft_new(core, &mark, number, &crypto_real, &key, &draft),
                 ERR_OK);
    cr_assert_eq(checkpoint_draft_step(draft, SIZE_MAX, &m), ERR_AGAIN);
    cr_assert_eq(checkpoint_draft_step(draft, SIZE_MAX, &m), ERR_OK);
    cr_expect_eq(m.len, m.size);
    cr_assert_eq(disk->ops->make(disk, &m), ERR_OK);
    cr_assert_eq(disk->ops->made(disk), ERR_OK);
    checkpoint_draft_free(draft);
}

/* Into a new core, which is the caller's; NULL where it failed. */
static enum err load(uint64_t number, struct core **into, struct checkpoint *c)
{
    struct core_config config = history_config(1, 77);
    enum err err;

    *into = core_new(&config);
    err = checkpoint_load(disk, number, &crypto_real, *into, c);
    if (err == ERR_OK)
        return err;
    core_free(*into);
    *into = NULL;
    return err;
}

static enum err load_only(uint64_t number)
{
    struct checkpoint c;
    struct core *into;
    enum err err = load(number, &into, &c);

    if (into != NULL)
        core_free(into);
    return err;
}

static int64_t total(const struct core *of, const char *name)
{
    struct msg_get_req req = {.name_len = (uint8_t)strlen(name)};
    struct msg_get_rep rep;

    memcpy(req.name, name, req.name_len);
    core_get(of, &req, &rep);
    return rep.total;
}

static void expect_golden_state(struct core *of)
{
    struct msg_count_req repeat = history_req(0x16, "hits", -300);
    struct core_figures figures;
    struct msg_count_rep rep;

    cr_expect_eq(total(of, "hits"), (int64_t)INT32_MAX + 2 - 300);
    cr_expect_eq(total(of, "votes-7.a_b"), (int64_t)INT32_MIN + 5);
    core_figures(of, &figures);
    cr_expect_eq(figures.streams, 2);
    cr_expect_eq(figures.end.position.number, 1);
    cr_expect_eq(figures.requests, 6);
    cr_assert_eq(core_count(of, &repeat, 0, BLOCK_MAX, &rep), CORE_ANSWERED);
    cr_expect_eq(rep.status, STATUS_FINAL);
    cr_expect_eq(rep.number, (int64_t)INT32_MAX + 2 - 300);
}

/* ---- golden file ---- */

static void expect_golden(const char *name)
{
    size_t len;
    uint8_t *golden = golden_read(TESTS_DIR, name, &len);
    struct checkpoint c;
    struct core *into;

    memory_disk_put(disk, FIRST, golden, len);
    cr_assert_eq(load(1, &into, &c), ERR_OK);
    cr_expect_eq(c.number, 1);
    cr_expect_eq(c.mark.lsn, mark.lsn);
    cr_expect_eq(c.mark.check, mark.check);
    cr_expect_arr_eq(c.maker.byte, key.public.byte, PUBLIC_KEY_BYTES);
    expect_golden_state(into);
    core_free(into);
    free(golden);
}

Test(checkpoint, one_of_format_1_is_read_with_counters_and_blocks_of_each_version)
{
    expect_golden("checkpoint-1");
    expect_golden("checkpoint-1-counter-2");
    expect_golden("checkpoint-1-block-2");
}

Test(checkpoint, the_same_state_makes_the_same_bytes_as_ever)
{
    const uint8_t *bytes;
    size_t size;

    cr_assert_eq(CHECKPOINT_FORMAT, 1, "a new format needs a new golden file");
    make(1);
    bytes = memory_disk_bytes(disk, FIRST, &size);
    cr_assert_eq(counter_component.version, 2, "so does a new version of a component");
    cr_assert_eq(BLOCK_FORMAT, 2, "and of blocks, whose hashes are in it");
    cr_expect_eq(golden_differs(TESTS_DIR, "checkpoint-1-block-2", bytes, size), -1);
}

/* ---- making and loading ---- */

Test(checkpoint, what_was_made_is_loaded_and_makes_the_same_again)
{
    struct checkpoint c;
    struct core *into;
    const uint8_t *first, *second;
    size_t first_len, second_len;

    make(1);
    cr_assert_eq(load(1, &into, &c), ERR_OK);
    expect_golden_state(into);
    core_free(core);
    core = into;
    make(2);
    first = memory_disk_bytes(disk, FIRST, &first_len);
    second = memory_disk_bytes(disk, "0000000000000002.checkpoint", &second_len);
    cr_expect_eq(first_len, second_len);
    cr_expect_arr_eq(first, second, first_len);
}

Test(checkpoint, that_the_node_joins_is_said_and_read_again)
{
    const uint8_t joins[] = {BLOCK_JOINS, 1}, joined[] = {BLOCK_JOINS, 0};
    struct checkpoint c;
    struct core *into;
    size_t len, len_before;

    make(1);
    memory_disk_bytes(disk, FIRST, &len_before);
    cr_assert_eq(core_replay(core, joins, sizeof joins), ERR_OK);
    make(1);
    memory_disk_bytes(disk, FIRST, &len);
    cr_expect_eq(len, len_before + 1);
    cr_assert_eq(load(1, &into, &c), ERR_OK);
    cr_expect(core_joins(into));
    cr_assert_eq(core_replay(into, joined, sizeof joined), ERR_OK);
    cr_expect_not(core_joins(into));
    core_free(into);
}

Test(checkpoint, a_record_of_joining_that_is_neither_is_malformed)
{
    const uint8_t neither[] = {BLOCK_JOINS, 2}, longer[] = {BLOCK_JOINS, 1, 0};

    cr_expect_eq(core_replay(core, neither, sizeof neither), ERR_MALFORMED);
    cr_expect_eq(core_replay(core, longer, sizeof longer), ERR_MALFORMED);
    cr_expect_eq(core_replay(core, longer, 1), ERR_MALFORMED);
    cr_expect_not(core_joins(core));
}

/* As where a backup was restored and the node's key was lost: what was asked of the old node was not asked of this
 * one, and its streams are not this one's to go on from. */
Test(checkpoint, under_another_key_it_is_the_same_state_and_nobody_s_memory)
{
    struct core_config config = history_config(2, 77);
    struct core *into = core_new(&config);
    struct core_figures figures;
    struct checkpoint c;

    make(1);
    cr_assert_eq(checkpoint_load(disk, 1, &crypto_real, into, &c), ERR_OK);
    core_figures(into, &figures);
    cr_expect_eq(total(into, "hits"), (int64_t)INT32_MAX + 2 - 300);
    cr_expect_eq(figures.streams, 2);
    cr_expect_eq(figures.end.position.number, 0);
    cr_expect_eq(figures.requests, 0);
    core_free(into);
}

Test(checkpoint, one_without_a_core_is_only_checked)
{
    struct checkpoint c;

    make(1);
    cr_expect_eq(checkpoint_load(disk, 1, &crypto_real, NULL, &c), ERR_OK);
    cr_expect_eq(c.mark.lsn, mark.lsn);
}

Test(checkpoint, one_that_is_not_there_is_not_found)
{
    cr_expect_eq(load_only(1), ERR_NOT_FOUND);
}

Test(checkpoint, rot_in_any_byte_is_seen)
{
    size_t len;

    make(1);
    memory_disk_bytes(disk, FIRST, &len);
    for (size_t at = 0; at < len; at++) {
        bool format = at >= 8 && at < 12; /* It may be a newer one. */

        memory_disk_flip(disk, FIRST, at);
        cr_expect_eq(load_only(1), format ? ERR_VERSION : ERR_CORRUPT, "byte %zu", at);
        memory_disk_flip(disk, FIRST, at);
    }
    cr_expect_eq(load_only(1), ERR_OK);
}

Test(checkpoint, one_that_is_shorter_or_longer_is_corrupt)
{
    uint8_t bytes[4096];
    const uint8_t *now;
    size_t len;

    make(1);
    now = memory_disk_bytes(disk, FIRST, &len);
    cr_assert_lt(len, sizeof bytes);
    memcpy(bytes, now, len);
    bytes[len] = 0;
    for (size_t cut = 0; cut <= len + 1; cut++) {
        memory_disk_put(disk, FIRST, bytes, cut);
        cr_expect_eq(load_only(1), cut == len ? ERR_OK : ERR_CORRUPT, "%zu", cut);
    }
}

/* What the checks of hash and signature cannot see, because whoever wrote it made them:
 * here the hash at the end is made again over changed bytes. */
static void hash_again(uint8_t *bytes, size_t len)
{
    struct hash hash;

    crypto_real.hash(&hash, bytes, len - HASH_BYTES);
    memcpy(bytes + len - HASH_BYTES, hash.byte, HASH_BYTES);
}

Test(checkpoint, a_right_hash_does_not_make_up_for_a_wrong_signature_or_length)
{
    const size_t state_len = 8 + 4 + 4 + 8 + 8, state = state_len + 16;
    uint8_t bytes[4096];
    const uint8_t *now;
    size_t len;

    make(1);
    now = memory_disk_bytes(disk, FIRST, &len);
    memcpy(bytes, now, len);
    for (size_t at = state_len; at < len - HASH_BYTES; at += at < state ? 1 : 7) {
        bool own = at >= state + bytes[state_len] + 256u * bytes[state_len + 1] &&
                   at < len - HASH_BYTES - SIGNATURE_BYTES - PUBLIC_KEY_BYTES;

        bytes[at] ^= 1;
        hash_again(bytes, len);
        memory_disk_put(disk, FIRST, bytes, len);
        /* This node's own part is not signed: it never leaves the node. */
        if (!own)
            cr_expect_eq(load_only(1), ERR_CORRUPT, "byte %zu", at);
        bytes[at] ^= 1;
    }
    hash_again(bytes, len);
    memory_disk_put(disk, FIRST, bytes, len);
    cr_expect_eq(load_only(1), ERR_OK);
}

/* ---- listing ---- */

Test(checkpoint, the_newest_are_listed_first_and_other_files_are_not)
{
    static const uint64_t all[] = {7, 3, 12, 1, 100, 8};
    uint64_t numbers[8];
    size_t count;

    cr_expect_eq(checkpoint_list(disk, numbers, 8, &count), ERR_OK);
    cr_expect_eq(count, 0);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        make(all[i]);
    memory_disk_put(disk, "0000000000000200.log", "", 0);
    memory_disk_put(disk, "0000000000000200.checkpoint.new", "", 0);
    memory_disk_put(disk, "200.checkpoint", "", 0);
    cr_expect_eq(checkpoint_list(disk, numbers, 8, &count), ERR_OK);
    cr_expect_eq(count, 6);
    cr_expect_arr_eq(numbers, ((uint64_t[]){100, 12, 8, 7, 3, 1}), 6 * sizeof *numbers);
    memset(numbers, 0, sizeof numbers);
    cr_expect_eq(checkpoint_list(disk, numbers, 3, &count), ERR_OK);
    cr_expect_eq(count, 6, "all are counted");
    cr_expect_arr_eq(numbers, ((uint64_t[]){100, 12, 8, 0}), 4 * sizeof *numbers);
}

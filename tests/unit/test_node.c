/* tests/unit/test_node.c: one node on its disk: commits, recovery, segments and
 * checkpoints ahead, a full disk. The disk is tests/lib/memory_disk.h; time is what the
 * test says. */
#include <criterion/criterion.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/checkpoint.h"
#include "replica/node.h"
#include "tests/lib/history.h"
#include "tests/lib/memory_disk.h"

enum { SEGMENT = WAL_SEGMENT_MIN, REPLIES_MAX = 16 * 1024 };

static struct disk *disk;
static struct node *node;
static struct node_config config;
static struct node_time now = {.mono_ms = 5000, .wall_ms = 1700000000000};
static uint64_t next_stream = 1, next_id = 1;

static struct {
    uint64_t ticket;
    struct msg_count_rep rep;
} replies[REPLIES_MAX];
static size_t reply_count;

static void reply(void *arg, uint64_t ticket, const struct msg_count_rep *rep)
{
    (void)arg;
    replies[reply_count % REPLIES_MAX].ticket = ticket;
    replies[reply_count++ % REPLIES_MAX].rep = *rep;
}

static enum err open_node(void)
{
    node = NULL;
    config.disk = disk;
    config.core.stream = history_id(next_stream++);
    return node_open(&config, now, &node);
}

/* Let the node make what it wants to make now; the time of its next wish is returned. */
static uint64_t settle(void)
{
    uint64_t next_ms;

    for (int i = 0; i < 100; i++) {
        cr_assert_eq(node_maintain(node, now, &next_ms), ERR_OK);
        if (next_ms > now.mono_ms && (next_ms != UINT64_MAX || !node_busy(node)))
            return next_ms;
    }
    cr_assert(false, "the node never comes to rest");
    return 0;
}

static void start(void)
{
    cr_assert_eq(open_node(), ERR_OK);
    settle();
}

static void stop(void)
{
    node_close(node);
    node = NULL;
}

static void crash(void)
{
    stop();
    memory_disk_crash(disk);
}

static void set_up(void)
{
    cr_assert_geq(sodium_init(), 0);
    disk = memory_disk_new();
    config = (struct node_config){.core = history_config(1, 1),
                                  .segment_bytes = SEGMENT,
                                  .checkpoint_bytes = UINT64_MAX,
                                  .checkpoint_ms = UINT64_MAX / 2,
                                  .reply = reply};
    config.core.requests = CORE_REQUESTS;
    start();
}

static void tear_down(void)
{
    memory_disk_hold_make(disk, false);
    if (node != NULL)
        node_close(node);
    memory_disk_free(disk);
}

TestSuite(node, .init = set_up, .fini = tear_down);

static struct msg_count_req request(const char *name)
{
    struct msg_count_req req = history_req(next_id++, name, 1);

    req.heard = node_position(node);
    return req;
}

static void gather(const struct msg_count_req *req)
{
    cr_assert_eq(node_count(node, req, 7, now), ERR_OK);
}

static void commit(void)
{
    cr_assert_eq(node_commit(node, now), ERR_OK);
}

/* One count and its answer. */
static struct msg_count_rep ask(const struct msg_count_req *req)
{
    reply_count = 0;
    gather(req);
    commit();
    cr_assert_eq(reply_count, 1);
    cr_assert_eq(replies[0].ticket, 7);
    return replies[0].rep;
}

static int64_t count(const char *name)
{
    struct msg_count_req req = request(name);
    struct msg_count_rep rep = ask(&req);

    cr_assert_eq(rep.status, STATUS_FINAL);
    return rep.number;
}

static int64_t total(const char *name)
{
    struct msg_get_req req = {.name_len = (uint8_t)strlen(name)};
    struct msg_get_rep rep;

    memcpy(req.name, name, req.name_len);
    node_get(node, &req, &rep);
    cr_assert_eq(rep.status, STATUS_FINAL);
    return rep.total;
}

/* Whether what this node wrote last stands in that stream. */
static bool stream_is(const struct id *id)
{
    struct position position = node_position(node);

    return id_equal(&position.stream, id);
}

static struct node_figures figures(void)
{
    struct node_figures f;

    node_figures(node, &f);
    return f;
}

/* Counts until the log has grown by so many bytes, or counts are refused; tags make it go
 * faster. */
static int64_t grown; /* were taken */

static void grow(uint64_t bytes)
{
    uint64_t end = figures().end.lsn + bytes;
    size_t refused = 0;

    while (figures().end.lsn < end && refused == 0) {
        reply_count = 0;
        for (int i = 0; i < 500; i++) {
            struct msg_count_req req = request("grown");

            req.tag_len = TAG_MAX_BYTES;
            memset(req.tag, 't', TAG_MAX_BYTES);
            gather(&req);
        }
        commit();
        for (size_t i = 0; i < reply_count; i++)
            refused += replies[i].rep.status != STATUS_FINAL;
        grown += (int64_t)(reply_count - refused);
        settle();
    }
}

static void checkpoint(void)
{
    uint64_t number = figures().checkpoint;

    node_want_checkpoint(node);
    cr_assert(node_busy(node));
    settle();
    cr_assert_gt(figures().checkpoint, number);
}

static size_t checkpoints(uint64_t numbers[8])
{
    size_t counted;

    cr_assert_eq(checkpoint_list(disk, numbers, 8, &counted), ERR_OK);
    return counted;
}

/* Rot in the middle of a checkpoint. */
static void damage_checkpoint(uint64_t number)
{
    char name[DISK_NAME_MAX + 1];

    checkpoint_name(number, name);
    memory_disk_flip(disk, name, 100);
}

/* ---- counting ---- */

Test(node, a_count_is_answered_only_when_it_is_durable_and_survives_a_crash)
{
    struct msg_count_req req = request("a");

    reply_count = 0;
    gather(&req);
    cr_expect_eq(reply_count, 0);
    cr_expect_eq(total("a"), 0);
    commit();
    cr_expect_eq(reply_count, 1);
    crash();
    start();
    cr_expect_eq(total("a"), 1);
    cr_expect_eq(ask(&req).number, 1, "and its repeat gets the first answer");
    cr_expect_eq(count("a"), 2);
}

Test(node, what_was_not_committed_is_not_answered_and_counts_when_it_is_asked_again)
{
    struct msg_count_req req = request("a");

    reply_count = 0;
    gather(&req);
    crash();
    start();
    cr_expect_eq(reply_count, 0);
    cr_expect_eq(total("a"), 0);
    cr_expect_eq(ask(&req).number, 1);
}

Test(node, a_commit_without_counts_writes_nothing)
{
    uint64_t commits;

    count("a");
    commits = figures().commits;
    commit();
    cr_expect_eq(figures().commits, commits);
}

Test(node, more_counts_than_a_block_holds_are_committed_in_several)
{
    reply_count = 0;
    for (int i = 0; i < 15000; i++) {
        struct msg_count_req req = request("a");

        gather(&req);
    }
    commit();
    cr_expect_eq(reply_count, 15000);
    cr_expect_gt(figures().commits, 1);
    for (size_t i = 0; i < reply_count; i++)
        cr_assert_eq(replies[i].rep.number, (int64_t)i + 1);
}

Test(node, after_a_failed_sync_nothing_is_answered_and_a_restart_recovers)
{
    struct msg_count_req req = request("a");

    reply_count = 0;
    gather(&req);
    memory_disk_fail_sync(disk, 1);
    cr_expect_eq(node_commit(node, now), ERR_IO);
    cr_expect_eq(reply_count, 0);
    crash();
    start();
    cr_expect_eq(ask(&req).number, 1);
    cr_expect_eq(total("a"), 1);
}

/* The bytes are in the page cache and not on the disk; recovery has to know before it
 * answers the repeat. The block is of many pages, since the zeros behind it have its last
 * one written anyhow. */
Test(node, what_a_failed_sync_left_in_the_cache_is_durable_before_its_repeat_is_answered)
{
    struct msg_count_req req = request("a");

    gather(&req);
    for (int i = 0; i < 1000; i++) {
        struct msg_count_req more = request("a");

        gather(&more);
    }
    memory_disk_fail_sync(disk, 1);
    cr_expect_eq(node_commit(node, now), ERR_IO);
    stop(); /* The process died; the machine did not. */
    start();
    cr_expect_eq(ask(&req).number, 1);
    crash(); /* Now it does. */
    start();
    cr_expect_eq(total("a"), 1001);
}

Test(node, each_start_that_counts_writes_a_new_stream)
{
    struct id before, none = {{0}};

    cr_expect(stream_is(&none));
    count("a");
    for (uint64_t i = 1; i <= 5; i++) {
        before = node_position(node).stream;
        cr_expect_eq(figures().core.streams, i);
        stop();
        start();
        cr_expect(stream_is(&before));
        stop();
        start(); /* This one counts nothing, and leaves nothing behind. */
        count("a");
        cr_expect_not(stream_is(&before));
        cr_expect_eq(node_position(node).number, 1);
    }
}

/* ---- segments ---- */

Test(node, until_its_first_segment_is_made_new_counts_are_unavailable)
{
    struct msg_count_req req;
    uint64_t next_ms;

    stop();
    memory_disk_free(disk);
    disk = memory_disk_new();
    cr_assert_eq(open_node(), ERR_OK);
    req = request("a");
    cr_expect_eq(ask(&req).status, STATUS_UNAVAILABLE);
    cr_expect(node_short(node), "it is only a matter of waiting");
    memory_disk_hold_make(disk, true);
    cr_assert_eq(node_maintain(node, now, &next_ms), ERR_OK);
    cr_expect_eq(next_ms, UINT64_MAX, "the make's end calls");
    cr_expect(node_busy(node));
    cr_assert_eq(node_maintain(node, now, &next_ms), ERR_OK);
    cr_expect_eq(ask(&req).status, STATUS_UNAVAILABLE);
    memory_disk_hold_make(disk, false);
    settle();
    cr_expect_not(node_short(node));
    cr_expect_eq(ask(&req).number, 1);
}

Test(node, segments_are_made_ahead_so_that_no_count_waits_for_one)
{
    grow(5 * SEGMENT);
    cr_expect_geq(figures().end.lsn, 5 * SEGMENT, "none was refused");
    cr_expect_geq(memory_disk_count(disk), 6);
    crash();
    start();
    cr_expect_eq(total("grown"), grown);
}

/* ---- a full disk ---- */

/* Count until the log is full: no further segment can be made. */
static void fill_disk(void)
{
    struct msg_count_req req;

    memory_disk_set_room(disk, 0);
    for (;;) {
        req = request("a");
        req.tag_len = TAG_MAX_BYTES;
        memset(req.tag, 't', TAG_MAX_BYTES);
        if (ask(&req).status != STATUS_FINAL)
            break;
        settle();
    }
    cr_assert_eq(replies[0].rep.status, STATUS_UNAVAILABLE);
}

Test(node, with_a_full_disk_new_counts_are_refused_and_the_rest_works_until_there_is_room)
{
    struct msg_count_req first = request("a"), refused;
    int64_t counted;
    uint64_t next_ms;

    cr_expect_eq(ask(&first).number, 1);
    fill_disk();
    counted = total("a");
    cr_expect(figures().full);
    cr_expect_not(node_short(node));
    cr_expect_eq(ask(&first).number, 1, "a repeat");
    refused = request("a");
    cr_expect_eq(ask(&refused).status, STATUS_UNAVAILABLE);
    cr_expect_eq(total("a"), counted);
    next_ms = settle();
    cr_expect_eq(next_ms, now.mono_ms + 1000, "it tries again every second");
    memory_disk_set_room(disk, UINT64_MAX);
    now.mono_ms += 999;
    settle();
    cr_expect(figures().full, "not yet");
    now.mono_ms += 1;
    settle();
    cr_expect_not(figures().full);
    cr_expect_eq(ask(&refused).number, counted + 1);
    crash();
    start();
    cr_expect_eq(total("a"), counted + 1);
}

/* Blocks of a peer's, each with so many counts. */
static void write_blocks(struct history *h, size_t blocks, unsigned counts)
{
    const struct core_config theirs = history_config(2, 900);
    struct core *peer = core_new(&theirs);
    struct msg_count_rep rep;

    for (size_t i = 0; i < blocks; i++) {
        for (unsigned n = 0; n < counts; n++) {
            struct msg_count_req req = history_req(next_id++, "theirs", 1);

            req.heard = core_position(peer);
            cr_assert_eq(core_count(peer, &req, 7, SIZE_MAX, &rep), CORE_WAITS);
        }
        history_commit(h, peer, 1, reply, NULL);
    }
    core_free(peer);
}

Test(node, blocks_of_peers_leave_the_log_s_last_room_to_the_counts_it_was_promised_to)
{
    const struct public_key peer = history_key(2).public;
    struct history theirs = {0};
    enum core_taken taken = CORE_TAKEN;
    size_t taken_count = 0;

    write_blocks(&theirs, 2600, 30);
    cr_assert_eq(core_trust(node_core(node), &peer, 1), ERR_OK);
    core_open(node_core(node));
    memory_disk_hold_make(disk, true);
    now.mono_ms += 60000;
    for (int i = 0; i < 1000; i++) {
        struct msg_count_req req = request("hits");

        gather(&req);
    }
    for (size_t i = 0; i < theirs.count && taken == CORE_TAKEN; i++) {
        cr_assert_eq(node_receive(node, theirs.blocks[i].bytes, theirs.blocks[i].len,
                                  false, &taken),
                     ERR_OK);
        taken_count += taken == CORE_TAKEN;
    }
    cr_assert_eq(taken, CORE_GAP, "the log is full");
    cr_assert_gt(taken_count, 100);
    reply_count = 0;
    commit();
    cr_expect_eq(reply_count, 1000);
    for (size_t i = 0; i < reply_count; i++)
        cr_assert_eq(replies[i].rep.status, STATUS_PROVISIONAL);
    history_free(&theirs);
}

/* ---- blocks that nobody waits for ---- */

static uint64_t syncs(void)
{
    struct node_figures figures;

    node_figures(node, &figures);
    return figures.commits;
}

static int64_t theirs_held(void)
{
    struct msg_get_req req = {.name_len = 6, .name = "theirs"};
    struct msg_get_rep rep;

    node_get(node, &req, &rep);
    return rep.total;
}

static void receive(const struct history *h, size_t i)
{
    enum core_taken taken;

    cr_assert_eq(node_receive(node, h->blocks[i].bytes, h->blocks[i].len, false, &taken),
                 ERR_OK);
    cr_assert_eq(taken, CORE_TAKEN);
}

/* A node that has just synced a count, and blocks of a peer's. */
static void follow(struct history *theirs)
{
    const struct public_key peer = history_key(2).public;
    struct msg_count_req req = request("hits");

    write_blocks(theirs, 3, 1);
    cr_assert_eq(core_trust(node_core(node), &peer, 1), ERR_OK);
    core_open(node_core(node));
    gather(&req);
    commit();
}

Test(node, blocks_alone_share_the_next_count_s_sync)
{
    struct msg_count_req req = request("hits");
    struct history theirs = {0};
    uint64_t before;

    follow(&theirs);
    before = syncs();
    for (size_t i = 0; i < 3; i++) {
        receive(&theirs, i);
        cr_assert_eq(node_commit(node, now), ERR_OK);
    }
    cr_expect_eq(syncs(), before);
    cr_expect_eq(theirs_held(), 0, "what is not durable is not held");
    gather(&req);
    commit();
    cr_expect_eq(syncs(), before + 1);
    cr_expect_eq(theirs_held(), 3);
    history_free(&theirs);
}

Test(node, blocks_alone_wait_no_longer_than_said)
{
    struct history theirs = {0};
    uint64_t next_ms;

    follow(&theirs);
    receive(&theirs, 0);
    cr_assert_eq(node_commit(node, now), ERR_OK);
    cr_assert_eq(node_maintain(node, now, &next_ms), ERR_OK);
    cr_expect_eq(next_ms, now.mono_ms + NODE_SHARE_MS);
    now.mono_ms = next_ms;
    cr_assert_eq(node_maintain(node, now, &next_ms), ERR_OK);
    cr_expect_eq(theirs_held(), 1);
    cr_expect_eq(next_ms, now.mono_ms, "peers are to hear of it");
    history_free(&theirs);
}

Test(node, blocks_that_somebody_waits_for_are_not_put_off)
{
    struct history theirs = {0};

    follow(&theirs);
    receive(&theirs, 0);
    node_hurry(node);
    cr_assert_eq(node_commit(node, now), ERR_OK);
    cr_expect_eq(theirs_held(), 1);
    receive(&theirs, 1);
    cr_assert_eq(node_commit(node, now), ERR_OK);
    cr_expect_eq(theirs_held(), 1, "the next ones are");
    history_free(&theirs);
}

Test(node, a_checkpoint_holds_what_was_put_off)
{
    struct history theirs = {0};

    follow(&theirs);
    receive(&theirs, 0);
    cr_assert_eq(node_commit(node, now), ERR_OK);
    node_want_checkpoint(node);
    settle();
    crash();
    cr_assert_eq(open_node(), ERR_OK);
    cr_expect_eq(theirs_held(), 1);
    history_free(&theirs);
}

Test(node, a_checkpoint_that_is_due_when_another_ends_waits_for_what_was_put_off)
{
    struct msg_count_req req = request("hits");
    struct history theirs = {0};
    uint64_t next_ms;

    follow(&theirs);
    settle();
    memory_disk_hold_make(disk, true);
    node_want_checkpoint(node);
    for (int i = 0; i < 20; i++)
        cr_assert_eq(node_maintain(node, now, &next_ms), ERR_OK);
    now.mono_ms += 20;
    gather(&req);
    commit();
    node_want_checkpoint(node);
    receive(&theirs, 0);
    cr_assert_eq(node_commit(node, now), ERR_OK);
    memory_disk_hold_make(disk, false);
    settle();
    now.mono_ms += NODE_SHARE_MS;
    settle();
    crash();
    cr_assert_eq(open_node(), ERR_OK);
    cr_expect_eq(theirs_held(), 1);
    history_free(&theirs);
}

Test(node, a_crash_with_a_full_disk_needs_no_room_to_recover)
{
    int64_t counted;
    struct msg_count_req req;

    fill_disk();
    counted = total("a");
    for (int i = 0; i < 3; i++) {
        crash();
        cr_assert_eq(open_node(), ERR_OK);
        settle();
        cr_expect_eq(total("a"), counted);
        req = request("a");
        cr_expect_eq(ask(&req).status, STATUS_UNAVAILABLE);
    }
    memory_disk_set_room(disk, UINT64_MAX);
    now.mono_ms += 1000;
    settle();
    cr_expect_eq(count("a"), counted + 1);
}

Test(node, a_checkpoint_for_which_there_is_no_room_changes_nothing_and_is_tried_again)
{
    uint64_t numbers[8];

    count("a");
    checkpoint();
    count("a");
    settle();
    memory_disk_set_room(disk, 0);
    node_want_checkpoint(node);
    settle();
    cr_expect_not(node_busy(node), "whoever stops need not wait for it");
    cr_expect(figures().full);
    cr_expect_eq(figures().checkpoint, 1);
    cr_expect_eq(checkpoints(numbers), 1);
    cr_expect_eq(count("a"), 3, "counting goes on");
    memory_disk_set_room(disk, UINT64_MAX);
    now.mono_ms += 1000;
    settle();
    cr_expect_eq(figures().checkpoint, 2);
    cr_expect_not(figures().full);
}

Test(node, a_make_that_fails_otherwise_is_tried_again_too)
{
    count("a");
    settle();
    memory_disk_fail_make(disk, 1);
    node_want_checkpoint(node);
    settle();
    cr_expect_eq(figures().checkpoint, 0);
    now.mono_ms += 1000;
    settle();
    cr_expect_eq(figures().checkpoint, 1);
}

/* Where the log itself fills the disk, it is the next checkpoint that lets the old part
 * of it go; to wait for a segment first would be to wait for ever. */
Test(node, a_log_that_fills_the_disk_by_itself_makes_room_by_a_checkpoint)
{
    stop();
    config.core.requests = 4096; /* A small checkpoint fits where a segment does not. */
    start();
    for (int had = 0; had < 2; had++) {
        uint64_t begun = figures().end.lsn;

        if (had)
            checkpoint();
        memory_disk_set_room(disk, 6 * SEGMENT + SEGMENT / 2);
        for (int i = 0; i < 40 && figures().end.lsn < begun + 12 * SEGMENT; i++) {
            grow(SEGMENT);
            for (int s = 0; s < 3; s++) {
                now.mono_ms += 1000;
                settle();
            }
        }
        cr_expect_geq(figures().end.lsn, begun + 12 * SEGMENT);
        memory_disk_set_room(disk, UINT64_MAX);
        count("a");
    }
    crash();
    start();
    cr_expect_eq(total("grown"), grown);
}

/* ---- checkpoints ---- */

Test(node, recovery_reads_only_what_is_newer_than_the_checkpoint)
{
    struct msg_count_req first = request("a"), second;

    ask(&first);
    count("b");
    checkpoint();
    second = request("a");
    ask(&second);
    crash();
    start();
    cr_expect_eq(figures().recovered_blocks, 1);
    cr_expect_eq(figures().checkpoint, 1);
    cr_expect_eq(total("a"), 2);
    cr_expect_eq(total("b"), 1);
    cr_expect_eq(ask(&first).number, 1);
    cr_expect_eq(ask(&second).number, 2);
    cr_expect_eq(count("a"), 3);
}

Test(node, a_checkpoint_is_made_by_size_by_time_and_on_demand_but_not_without_a_change)
{
    config.checkpoint_bytes = SEGMENT / 2;
    config.checkpoint_ms = 60 * 1000;
    stop();
    start();
    cr_expect_eq(settle(), UINT64_MAX, "nothing has changed");
    node_want_checkpoint(node);
    cr_expect_not(node_busy(node));
    count("a");
    cr_expect_eq(settle(), now.mono_ms + 60 * 1000);
    cr_expect_eq(figures().checkpoint, 0);
    now.mono_ms += 60 * 1000 - 1;
    settle();
    cr_expect_eq(figures().checkpoint, 0);
    now.mono_ms += 1;
    settle();
    cr_expect_eq(figures().checkpoint, 1, "by time");
    now.mono_ms += 3600 * 1000;
    cr_expect_eq(settle(), UINT64_MAX);
    cr_expect_eq(figures().checkpoint, 1);
    count("a");
    settle();
    cr_expect_eq(figures().checkpoint, 2);
    grow(SEGMENT / 2 - 1);
    cr_expect_eq(figures().checkpoint, 3, "by size");
    count("a");
    checkpoint();
    cr_expect_eq(figures().checkpoint, 4, "on demand");
}

Test(node, two_checkpoints_are_kept_and_the_log_from_the_older_one_on)
{
    uint64_t numbers[8];

    for (uint64_t i = 1; i <= 5; i++) {
        uint64_t older = figures().checkpoint_lsn;

        grow(2 * SEGMENT);
        checkpoint();
        cr_expect_eq(checkpoints(numbers), i < 2 ? 1 : 2);
        cr_expect_eq(numbers[0], i);
        cr_expect_eq(figures().checkpoint, i);
        cr_expect_leq(figures().first, older);
        cr_expect(i < 2 || older - figures().first < SEGMENT, "more is kept than needed");
    }
    cr_expect_gt(memory_disk_archived(disk), 4);
    crash();
    start();
    cr_expect_eq(total("grown"), grown);
    cr_expect_eq(figures().recovered_blocks, 0);
}

Test(node, a_damaged_newest_checkpoint_falls_back_to_the_one_before_it)
{
    struct msg_count_req first = request("a"), last;
    uint64_t numbers[8];

    ask(&first);
    for (int i = 0; i < 3; i++) {
        grow(SEGMENT);
        checkpoint();
    }
    last = request("a");
    cr_expect_eq(ask(&last).number, 2);
    crash();
    damage_checkpoint(3);
    start();
    cr_expect_eq(figures().checkpoint, 2);
    cr_expect_gt(figures().recovered_blocks, 1);
    cr_expect_eq(total("a"), 2);
    cr_expect_eq(total("grown"), grown);
    cr_expect_eq(ask(&first).number, 1);
    cr_expect_eq(ask(&last).number, 2);
    checkpoint();
    cr_expect_eq(checkpoints(numbers), 2, "the damaged one is replaced or removed");
    crash();
    start();
    cr_expect_eq(total("a"), 2);
    cr_expect_eq(figures().recovered_blocks, 0);
}

Test(node, with_both_checkpoints_damaged_a_log_that_is_whole_is_enough)
{
    uint64_t numbers[8];

    for (int i = 0; i < 4; i++) {
        count("a");
        checkpoint();
    }
    count("a");
    crash();
    damage_checkpoint(3);
    damage_checkpoint(4);
    start();
    cr_expect_eq(figures().recovered_blocks, 5);
    cr_expect_eq(total("a"), 5);
    checkpoint();
    count("a");
    checkpoint();
    cr_expect_eq(checkpoints(numbers), 2, "the damaged ones are gone");
    crash();
    start();
    cr_expect_eq(total("a"), 6);
    cr_expect_eq(figures().recovered_blocks, 0);
}

Test(node, with_both_damaged_and_the_log_s_beginning_gone_it_is_refused_and_left_as_it_is)
{
    struct disk *before;
    const uint8_t *a, *b;
    size_t size;
    char name[DISK_NAME_MAX + 1];

    for (int i = 0; i < 3; i++) {
        grow(2 * SEGMENT);
        checkpoint();
    }
    crash();
    damage_checkpoint(2);
    damage_checkpoint(3);
    before = memory_disk_copy(disk);
    cr_expect_eq(open_node(), ERR_CORRUPT);
    cr_expect_eq(memory_disk_count(disk), memory_disk_count(before));
    for (unsigned i = 1; i < 20; i++) {
        snprintf(name, sizeof name, "%016u.log", i);
        a = memory_disk_bytes(disk, name, &size);
        b = memory_disk_bytes(before, name, &size);
        cr_assert_eq(a == NULL, b == NULL);
        cr_expect(a == NULL || memcmp(a, b, size) == 0);
    }
    memory_disk_free(before);
}

/* A crash between making the third and removing the first leaves three. */
Test(node, a_third_checkpoint_that_a_crash_left_is_removed)
{
    uint64_t numbers[8];
    const uint8_t *now_bytes;
    uint8_t *oldest;
    size_t size;

    count("a");
    checkpoint();
    now_bytes = memory_disk_bytes(disk, "0000000000000001.checkpoint", &size);
    oldest = malloc(size);
    memcpy(oldest, now_bytes, size);
    for (int i = 0; i < 2; i++) {
        count("a");
        checkpoint();
    }
    crash();
    memory_disk_put(disk, "0000000000000001.checkpoint", oldest, size);
    free(oldest);
    cr_expect_eq(checkpoints(numbers), 3);
    start();
    cr_expect_eq(figures().checkpoint, 3);
    count("a");
    checkpoint();
    cr_expect_eq(checkpoints(numbers), 2);
    cr_expect_eq(numbers[0], 4);
    cr_expect_eq(numbers[1], 3);
}

Test(node, a_crash_while_a_checkpoint_is_made_leaves_the_ones_before_it)
{
    uint64_t next_ms, numbers[8];

    count("a");
    checkpoint();
    count("a");
    settle();
    memory_disk_hold_make(disk, true);
    node_want_checkpoint(node);
    cr_assert_eq(node_maintain(node, now, &next_ms), ERR_OK);
    cr_expect_eq(count("a"), 3, "counting goes on meanwhile");
    memory_disk_crash(disk);
    memory_disk_hold_make(disk, false);
    stop();
    cr_expect_eq(checkpoints(numbers), 1);
    start();
    cr_expect_eq(total("a"), 3);
}

Test(node, what_is_counted_while_a_checkpoint_is_made_is_not_part_of_it_and_not_lost)
{
    uint64_t next_ms;

    count("a");
    settle();
    memory_disk_hold_make(disk, true);
    node_want_checkpoint(node);
    cr_assert_eq(node_maintain(node, now, &next_ms), ERR_OK);
    for (int i = 0; i < 10; i++)
        count("a");
    memory_disk_hold_make(disk, false);
    settle();
    cr_expect_eq(figures().checkpoint, 1);
    crash();
    start();
    cr_expect_eq(figures().recovered_blocks, 10);
    cr_expect_eq(total("a"), 11);
}

/* ---- refused ---- */

/* Eight counters, and a checkpoint of them that is encoded one by one. */
static void begin_slices(void)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};

    config.slice = 1;
    stop();
    start();
    for (size_t i = 0; i < 8; i++)
        count(names[i]);
    settle();
    node_want_checkpoint(node);
}

/* One slice. False: the checkpoint is made. */
static bool slice(void)
{
    uint64_t next_ms;

    cr_assert_eq(node_maintain(node, now, &next_ms), ERR_OK);
    if (node_busy(node))
        cr_assert(next_ms <= now.mono_ms || next_ms == UINT64_MAX,
                  "the next slice is due at once, and a file's end calls");
    return node_busy(node);
}

static enum status retire(const char *name, bool show)
{
    struct core_retirement wanted = {.id = history_id(next_id++),
                                     .show = show,
                                     .name = name,
                                     .name_len = (uint8_t)strlen(name),
                                     .reason = ""};
    enum status status;

    cr_assert_eq(node_retire(node, &wanted, now, &status), ERR_OK);
    return status;
}

/* The bytes of the state in the newest checkpoint are to be these. */
static void expect_checkpoint(const uint8_t *state, size_t len)
{
    struct checkpoint_source source;
    uint8_t *found = malloc(len);

    cr_assert_eq(node_source(node, &source), ERR_OK);
    cr_assert_eq(source.bytes, len);
    cr_assert_eq(checkpoint_source_read(&source, 0, found, len), ERR_OK);
    cr_expect_arr_eq(found, state, len);
    checkpoint_source_close(&source);
    free(found);
}

Test(node,
     a_checkpoint_is_of_the_place_where_it_began_whatever_is_counted_between_its_slices)
{
    size_t max, slices = 0;
    struct msg_count_req asked[64];
    struct writer w;

    begin_slices();
    max = core_encoded_max(node_core(node));
    w = writer_of(malloc(max), max);
    core_encode_state(node_core(node), &w);
    for (bool more = slice(); more && slices < 60; more = slice(), slices++) {
        asked[slices] = request("h");
        ask(&asked[slices]);
        count("a");
        count("new");
    }
    cr_assert_gt(slices, 8, "each counter is a slice, and each request");
    cr_assert_eq(figures().checkpoint, 1);
    expect_checkpoint(w.start, w.len);
    free(w.start);
    crash();
    start();
    cr_expect_eq(figures().recovered_blocks, 3 * slices);
    cr_expect_eq(total("h"), (int64_t)slices + 1);
    cr_expect_eq(total("a"), (int64_t)slices + 1);
    cr_expect_eq(total("new"), (int64_t)slices);
    for (size_t i = 0; i < slices; i++)
        cr_expect_eq(ask(&asked[i]).number, (int64_t)i + 2, "a repeat gets its answer");
}

Test(node, what_is_retired_between_two_slices_is_so_behind_the_checkpoint_and_not_in_it)
{
    const struct item *item;

    begin_slices();
    for (int i = 0; i < 4; i++)
        cr_assert(slice());
    cr_expect_eq(retire("a", false), STATUS_FINAL);
    cr_expect_eq(retire("h", false), STATUS_FINAL);
    while (slice())
        ;
    crash();
    start();
    cr_expect_eq(figures().recovered_blocks, 2);
    for (item = core_item_from(node_core(node), &counter_component, "", 0, false);
         item != NULL; item = counter_component.next(item))
        cr_expect_eq(item_hidden(item), item->key[0] == 'a' || item->key[0] == 'h');
}

Test(node, a_crash_between_two_slices_leaves_the_state_of_before_and_the_log)
{
    uint64_t numbers[8];

    begin_slices();
    for (int i = 0; i < 5; i++)
        cr_assert(slice());
    count("h");
    crash();
    cr_expect_eq(checkpoints(numbers), 0);
    start();
    cr_expect_eq(total("h"), 2);
    cr_expect_eq(total("a"), 1);
}

Test(node, a_stop_between_two_slices_waits_for_the_checkpoint)
{
    begin_slices();
    cr_assert(slice());
    count("h");
    node_want_checkpoint(node);
    while (slice())
        ;
    cr_expect_eq(figures().checkpoint, 2,
                 "the second one has what was counted meanwhile");
    crash();
    start();
    cr_expect_eq(figures().recovered_blocks, 0);
    cr_expect_eq(total("h"), 2);
}

Test(node, segments_are_made_while_a_checkpoint_is_encoded)
{
    uint64_t end = figures().end.lsn + 3 * SEGMENT, next_ms;

    config.slice = 1;
    stop();
    start();
    grow(64 * 1024);
    node_want_checkpoint(node);
    while (figures().end.lsn < end) {
        reply_count = 0;
        for (int i = 0; i < 500; i++) {
            struct msg_count_req req = request("more");

            req.tag_len = TAG_MAX_BYTES;
            memset(req.tag, 't', TAG_MAX_BYTES);
            gather(&req);
        }
        commit();
        for (int i = 0; i < 3; i++)
            cr_assert_eq(node_maintain(node, now, &next_ms), ERR_OK);
        for (size_t i = 0; i < reply_count; i++)
            cr_assert_eq(replies[i].rep.status, STATUS_FINAL);
    }
    cr_expect_eq(figures().checkpoint, 0, "it is being encoded still");
}

Test(node, a_newer_checkpoint_is_refused_and_not_passed_over)
{
    count("a");
    checkpoint();
    count("a");
    checkpoint();
    crash();
    memory_disk_poke(disk, "0000000000000002.checkpoint", 8, &(uint8_t){2}, 1);
    cr_expect_eq(open_node(), ERR_VERSION);
    cr_expect(memory_disk_has(disk, "0000000000000002.checkpoint"));
}

static enum err skip(void *arg, const struct wal_frame *frame)
{
    (void)arg;
    (void)frame;
    return ERR_OK;
}

/* A frame of its own behind what the node has written. */
static void append_block(const void *bytes, size_t len)
{
    struct wal *wal;

    cr_assert_eq(wal_open(disk, SEGMENT, NULL, skip, NULL, &wal), ERR_OK);
    cr_assert_eq(wal_append(wal, bytes, len), ERR_OK);
    cr_assert_eq(wal_sync(wal), ERR_OK);
    wal_close(wal);
}

Test(node, a_block_of_another_cluster_in_the_log_is_refused)
{
    struct core_config other = history_config(2, 999);
    struct msg_count_req req = history_req(4711, "a", 1);
    struct msg_count_rep rep;
    struct core *there;
    const uint8_t *bytes;
    size_t len;

    count("a");
    crash();
    other.cluster = history_id(2000);
    there = core_new(&other);
    cr_assert_eq(core_count(there, &req, 0, BLOCK_MAX, &rep), CORE_WAITS);
    cr_assert_eq(core_seal(there, 1, &bytes, &len), ERR_OK);
    append_block(bytes, len);
    core_free(there);
    cr_expect_eq(open_node(), ERR_REFUSED);
}

Test(node, a_block_that_does_not_continue_its_stream_is_damage)
{
    struct history h = {0};

    count("a");
    crash();
    history_golden(&h, NULL);
    append_block(h.blocks[1].bytes, h.blocks[1].len); /* The first one is missing. */
    history_free(&h);
    cr_expect_eq(open_node(), ERR_CORRUPT);
}

Test(node, a_block_of_a_newer_version_is_refused_as_such)
{
    struct history h = {0};

    count("a");
    crash();
    history_golden(&h, NULL);
    h.blocks[0].bytes[0] = BLOCK_FORMAT + 1;
    append_block(h.blocks[0].bytes, h.blocks[0].len);
    history_free(&h);
    cr_expect_eq(open_node(), ERR_VERSION);
}

Test(node, a_log_that_ends_before_its_checkpoint_is_refused)
{
    grow(SEGMENT + SEGMENT / 2);
    checkpoint();
    crash();
    memory_disk_delete(disk, "0000000000000003.log");
    memory_disk_delete(disk, "0000000000000002.log");
    cr_expect_eq(open_node(), ERR_CORRUPT);
}

#include "replica/node.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "replica/checkpoint.h"
#include "replica/forks.h"
#include "replica/mutant.h"

enum {
    MAKE_RETRY_MS = 1000,
    /* Checkpoints looked at. A crash between making one and removing the oldest leaves one too many, and
     * damaged ones may stand before them. */
    CHECKPOINTS_SEEN = 8,
    /* Between two looks through the log for what a peer's half of a proof contradicts. */
    PROOF_LOOK_MS = 5000,
};

struct node {
    struct node_config config;
    struct core *core;
    struct wal *wal;

    /* The disk makes one file at a time. A relief is a checkpoint that is made before its time, so that old
     * segments may go where there is no room for a new one. */
    enum {
        MAKING_NOTHING,
        MAKING_SEGMENT,
        MAKING_CHECKPOINT,
        MAKING_RELIEF,
        MAKING_ADOPTED
    } making;
    struct disk_make make;
    /* The checkpoint under way; NULL: none. It is encoded while counts go on and segments are made, and then made. */
    struct checkpoint_draft *draft;
    struct disk_make draft_make; /* once it is encoded */
    bool drafted;                /* it is */
    struct wal_mark draft_mark;  /* what it is of */
    uint64_t retry_ms;           /* after a make that failed; 0: no need to wait */
    bool full;
    bool relief; /* the last make was a segment's, and failed */

    struct checkpoint last, before; /* the two that are kept; number 0: none */
    uint64_t newest; /* the highest number of any checkpoint, a damaged one's included */
    uint64_t last_ms, last_wall_ms; /* when the last was made, or this run began */
    bool wanted;                    /* a checkpoint was asked for */

    /* Another node's state, NULL: none; and, while its file is being made, the core that goes on from it. */
    struct offer {
        uint8_t *state;
        size_t len;
        struct checkpoint_seal seal;
        struct hash hash; /* of the state */
        bool logged;
    } offer;
    struct core *successor;
    bool
        twice; /* the log does not lead to the newest checkpoint: a second one has to stand beside it */

    bool forked;        /* one half of a proof was taken since the last commit */
    uint64_t looked_ms; /* when the log was last read for a peer's half; 0: never */
    enum node_stuck stuck;
    struct id stuck_stream;
    uint64_t stuck_ms; /* since when, as of the last refusal */
    uint64_t keep;     /* LSN from which on peers need the log */
    uint64_t recovered_blocks, commits;
    uint64_t synced_ms, synced_lsn; /* the last commit, and where the log ended then */
    bool hurry;                     /* somebody waits for what was taken since */
};

/* ---- recovery ---- */

static enum err replay(void *arg, const struct wal_frame *frame)
{
    struct node *node = arg;
    enum err err = core_replay(node->core, frame->bytes, frame->len);

    node->recovered_blocks++;
    if (err == ERR_VERSION)
        log_error("the block at LSN %" PRIu64
                  " of the log was written by a newer version: run that version",
                  frame->lsn);
    else if (err != ERR_OK)
        log_alarm("the block at LSN %" PRIu64 " of the log: %s", frame->lsn,
                  err_name(err));
    return err;
}

/* At most CHECKPOINTS_SEEN numbers, newest first. */
static enum err list_checkpoints(const struct node *node, uint64_t *numbers,
                                 size_t *count)
{
    enum err err = checkpoint_list(node->config.disk, numbers, CHECKPOINTS_SEEN, count);

    if (*count > CHECKPOINTS_SEEN)
        *count = CHECKPOINTS_SEEN;
    return err;
}

/* All below this number but the two that are kept. */
static enum err remove_checkpoints(const struct node *node, uint64_t below)
{
    uint64_t numbers[CHECKPOINTS_SEEN];
    char name[DISK_NAME_MAX + 1];
    size_t count;
    enum err err = list_checkpoints(node, numbers, &count);

    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        if (numbers[i] >= below || numbers[i] == node->last.number ||
            (numbers[i] == node->before.number && !MUTANT(keep_one)))
            continue;
        checkpoint_name(numbers[i], name);
        err = node->config.disk->ops->remove(node->config.disk, name, false);
    }
    return err;
}

/* The newest checkpoint that is whole. A damaged one is left out with an alarm: the one before it and the
 * log, which is kept from there on, say the same. It stays until there is another. */
static enum err load_checkpoint(struct node *node)
{
    uint64_t numbers[CHECKPOINTS_SEEN];
    size_t count;
    enum err err = list_checkpoints(node, numbers, &count);

    node->newest = count > 0 ? numbers[0] : 0;
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        node->core = core_new(&node->config.core);
        if (node->core == NULL)
            return ERR_MEMORY;
        err = checkpoint_load(node->config.disk, numbers[i], node->config.core.crypto,
                              node->core, &node->last);
        if (err == ERR_OK) {
            node->before.number = i + 1 < count ? numbers[i + 1] : 0;
            return ERR_OK;
        }
        core_free(node->core);
        node->core = NULL;
        node->last = (struct checkpoint){0};
        if (err == ERR_CORRUPT)
            err = ERR_OK;
    }
    if (err == ERR_OK && (node->core = core_new(&node->config.core)) == NULL)
        err = ERR_MEMORY;
    return err;
}

/* Where the checkpoint before the last ends: what is older may go. Its file need not be loaded: where it is
 * damaged, nothing is released until there is a new one. */
static void load_before(struct node *node)
{
    if (node->before.number != 0 &&
        checkpoint_load(node->config.disk, node->before.number, node->config.core.crypto,
                        NULL, &node->before) != ERR_OK)
        node->before.mark = (struct wal_mark){0};
}

/* Nothing is written or removed before the whole log was read: what is refused stays as it was. */
static enum err recover(struct node *node)
{
    static const struct wal_mark
        beginning; /* of the log: needed where no checkpoint is whole */
    enum err err = load_checkpoint(node);

    if (err != ERR_OK)
        return err;
    load_before(node);
    if (MUTANT(remove_early) &&
        (err = remove_checkpoints(node, node->before.number)) != ERR_OK)
        return err;
    err = wal_open(node->config.disk, node->config.segment_bytes,
                   node->last.number != 0 ? &node->last.mark : &beginning, replay, node,
                   &node->wal);
    if (err == ERR_OK)
        err = remove_checkpoints(node, node->before.number);
    if (err == ERR_REFUSED)
        log_error(
            "the log holds blocks of another cluster: set the state directory aside");
    if (err == ERR_CORRUPT || err == ERR_MALFORMED)
        log_alarm(
            "the state directory is damaged and was left as it is: restore it from a "
            "backup, or set it aside; block %" PRIu64
            " after the checkpoint was the last "
            "one read",
            node->recovered_blocks);
    return err == ERR_MALFORMED || err == ERR_TOO_LONG ? ERR_CORRUPT : err;
}

static enum err read_log(const struct node *node, uint64_t lsn, struct core *core,
                         enum err (*take)(struct core *core, const uint8_t *bytes,
                                          size_t len))
{
    struct wal_reader *reader = wal_reader_new(node->wal, lsn);
    struct wal_frame frame;
    enum err err = reader != NULL ? ERR_OK : ERR_MEMORY;

    while (err == ERR_OK && (err = wal_reader_next(reader, &frame)) == ERR_OK)
        err = take(core, frame.bytes, frame.len);
    wal_reader_free(reader);
    return err == ERR_AGAIN ? ERR_OK : err;
}

/* Of a fork that was noticed here the block held is one half of the proof. It is looked for while the log has it;
 * where it came with a checkpoint, there is only the other half. What cannot be read now is not missed: the mark
 * stands, and the next start looks again. */
static enum err find_proofs(struct node *node)
{
    enum err err = core_lacks_proof(node->core)
                       ? read_log(node, 0, node->core, core_find_proof)
                       : ERR_OK;

    return err == ERR_MEMORY ? err : ERR_OK;
}

enum err node_open(const struct node_config *config, struct node_time now,
                   struct node **node)
{
    struct node *n = calloc(1, sizeof *n);
    struct core_figures figures;
    struct hash digest;
    enum err err;

    if (n == NULL)
        return ERR_MEMORY;
    n->config = *config;
    n->last_ms = now.mono_ms;
    n->keep = UINT64_MAX;
    err = recover(n);
    if (err == ERR_OK)
        err = find_proofs(n);
    if (err == ERR_OK)
        core_digest(n->core, &digest); /* Of all counters, before anybody waits for it. */
    if (err != ERR_OK) {
        node_close(n);
        return err;
    }
    core_figures(n->core, &figures);
    if (figures.streams > 0 && !config->rejoin &&
        (!core_joins(n->core) || MUTANT(forget_joining)))
        core_open(n->core); /* It has been a member before. */
    *node = n;
    return ERR_OK;
}

static void drop_draft(struct node *node)
{
    if (node->draft != NULL)
        checkpoint_draft_free(node->draft);
    node->draft = NULL;
    node->drafted = false;
}

void node_close(struct node *node)
{
    if (node->making != MAKING_NOTHING) {
        enum err made = node->config.disk->ops->made(node->config.disk);

        assert(made != ERR_AGAIN); /* It still reads the bytes. */
    }
    drop_draft(node);
    if (node->successor != NULL)
        core_free(node->successor);
    free(node->offer.state);
    if (node->wal != NULL)
        wal_close(node->wal);
    if (node->core != NULL)
        core_free(node->core);
    free(node);
}

/* ---- joining ---- */

/* The log is to say whether the node joins before anything stands in it that goes by that. Where it has no room for as
 * much, nothing else is appended either. */
static enum err log_joins(struct node *node, bool joins)
{
    const uint8_t record[BLOCK_JOINS_BYTES] = {BLOCK_JOINS, joins};
    enum err err;

    if (core_joins(node->core) == joins || wal_room(node->wal) < sizeof record)
        return ERR_OK;
    err = wal_append(node->wal, record, sizeof record);
    if (err == ERR_OK)
        err = wal_sync(node->wal);
    return err == ERR_OK ? core_replay(node->core, record, sizeof record) : err;
}

/* A node that has caught up is a member, from then on. */
static enum err log_joined(struct node *node)
{
    return core_is_open(node->core) ? log_joins(node, false) : ERR_OK;
}

/* ---- requests ---- */

/* What a block may have, for core_count(). */
static size_t count_room(const struct node *node)
{
    return core_joins(node->core) ? 0 : wal_room(node->wal);
}

enum err node_count(struct node *node, const struct msg_count_req *req, uint64_t ticket,
                    struct node_time now)
{
    struct msg_count_rep rep;
    enum core_verdict verdict;
    enum err err = log_joined(node);

    if (err != ERR_OK)
        return err;
    core_time(node->core, now.mono_ms);
    verdict = core_count(node->core, req, ticket, count_room(node), &rep);
    if (verdict == CORE_SEAL_FIRST) {
        err = node_commit(node, now);
        if (err != ERR_OK)
            return err;
        verdict = core_count(node->core, req, ticket, count_room(node), &rep);
        assert(verdict != CORE_SEAL_FIRST);
    }
    if (verdict == CORE_ANSWERED)
        node->config.reply(node->config.reply_arg, ticket, &rep);
    return ERR_OK;
}

void node_get(const struct node *node, const struct msg_get_req *req,
              struct msg_get_rep *rep)
{
    core_get(node->core, req, rep);
}

/* Whether so many records of so many bytes in all can go into the log, and what is gathered still behind them: that was
 * admitted because there was room for it. */
static bool has_room(const struct node *node, unsigned records, size_t bytes)
{
    size_t gathered = core_gathered_bytes(node->core);

    records += gathered > 0;
    return wal_has_room(node->wal, records * WAL_FRAME_HEADER + bytes + gathered);
}

enum err node_receive(struct node *node, const uint8_t *bytes, size_t len, bool covered,
                      enum core_taken *taken)
{
    struct core_record record;
    enum err err;

    *taken = CORE_GAP;
    if (node->successor !=
        NULL) /* It may hold this block already, and the log must go on from it. */
        return ERR_OK;
    if (!core_is_open(node->core)) {
        err = log_joins(node, true);
        if (err != ERR_OK || !core_joins(node->core))
            return err;
    }
    /* As proof it is a byte longer; no node makes one that large. */
    if (len >= BLOCK_MAX || !has_room(node, 1, len + 1))
        return ERR_OK;
    *taken = core_receive(node->core, bytes, len, covered, &record);
    if (*taken == CORE_FAILED)
        return ERR_MEMORY;
    node->forked = node->forked || *taken == CORE_FORKED;
    return *taken == CORE_TAKEN || *taken == CORE_FORKED
               ? wal_append(node->wal, record.bytes, record.len)
               : ERR_OK;
}

static enum err take_proof(struct node *node, const uint8_t *bytes, size_t len,
                           enum core_taken *taken)
{
    struct core_record record[2];
    enum err err = ERR_OK;

    if (!has_room(node, 2, len))
        return ERR_OK;
    *taken = core_take_proof(node->core, bytes, len, record);
    if (*taken == CORE_FAILED)
        return ERR_MEMORY;
    for (unsigned i = 0; i < 2 && err == ERR_OK && *taken == CORE_FORKED; i++)
        err = wal_append(node->wal, record[i].bytes, record[i].len);
    return err;
}

/* The first block of the log that contradicts this one makes the proof whole. */
static enum err look_for_half(struct node *node, const struct fork_half *half,
                              struct fork_proof *proof)
{
    const struct crypto *crypto = node->config.core.crypto;
    struct wal_reader *reader = wal_reader_new(node->wal, 0);
    enum err err = fork_add(proof, crypto, half->bytes, half->len);
    struct wal_frame frame;
    struct position position;
    struct block block;

    if (reader == NULL)
        err = ERR_MEMORY;
    while (err == ERR_OK && proof->blocks < 2 &&
           (err = wal_reader_next(reader, &frame)) == ERR_OK)
        if (block_peek(frame.bytes, frame.len, &position) &&
            id_equal(&position.stream, &half->block.stream) &&
            block_decode(frame.bytes, frame.len, crypto, &block) == ERR_OK &&
            fork_contradicts(&half->block, &block))
            err = fork_add(proof, crypto, frame.bytes, frame.len);
    wal_reader_free(reader);
    return err == ERR_MEMORY ? err : ERR_OK;
}

static enum err take_half(struct node *node, const struct fork_half *half,
                          uint64_t now_ms, enum core_taken *taken)
{
    struct fork_proof proof = {0};
    enum err err = node_receive(node, half->bytes, half->len, false, taken);

    if (err != ERR_OK || *taken != CORE_HELD ||
        (node->looked_ms != 0 && now_ms - node->looked_ms < PROOF_LOOK_MS))
        return err;
    node->looked_ms = now_ms;
    err = look_for_half(node, half, &proof);
    if (err == ERR_OK && proof.blocks == 2)
        err = take_proof(node, proof.bytes, proof.len, taken);
    fork_clear(&proof);
    return err;
}

enum err node_take_proof(struct node *node, const uint8_t *bytes, size_t len,
                         uint64_t now_ms, enum core_taken *taken)
{
    struct fork_half half[2];
    unsigned count;

    *taken = CORE_GAP;
    if (node->successor != NULL)
        return ERR_OK;
    if (fork_read(bytes, len, node->config.core.crypto, half, &count) == ERR_OK &&
        count == 1)
        return take_half(node, &half[0], now_ms, taken);
    return take_proof(node, bytes, len, taken);
}

/* What the next start is to know of this run's stream. Where the log has no room, it goes with the next checkpoint. */
static enum err log_doubt(struct node *node)
{
    uint8_t bytes[BLOCK_DOUBT_BYTES];
    struct writer w = writer_of(bytes, sizeof bytes);
    struct core_figures figures;
    enum err err;

    if (!core_stream_doubted(node->core) || wal_room(node->wal) < sizeof bytes)
        return ERR_OK;
    core_figures(node->core, &figures);
    write_u8(&w, BLOCK_DOUBT);
    write_bytes(&w, figures.stream.byte, ID_BYTES);
    err = wal_append(node->wal, bytes, w.len);
    return err == ERR_OK ? wal_sync(node->wal) : err;
}

/* Somebody else has written to this run's stream: it is his as much as ours, so neither goes on with it. */
static enum err renew_stream(struct node *node)
{
    struct id stream;
    enum err err = log_doubt(node);

    if (err != ERR_OK)
        return err;
    node->config.random(&stream, sizeof stream);
    core_new_stream(node->core, &stream);
    log_alarm(
        "this node's stream was written to by another process with its key: a copied machine or a "
        "resumed snapshot? Going on with a new stream");
    return ERR_OK;
}

/* A sync for each message of each peer's would keep callers waiting behind it, while the next count brings one anyway. But
 * what the log itself has synced, at a segment's end, is applied at once. */
static bool shares(const struct node *node, uint64_t now_ms)
{
    return !core_gathered(node->core) && !node->hurry && !node->forked &&
           !core_stream_lost(node->core) && core_is_open(node->core) &&
           wal_mark(node->wal).lsn == node->synced_lsn &&
           (now_ms - node->synced_ms < NODE_SHARE_MS || MUTANT(share_for_ever));
}

void node_hurry(struct node *node)
{
    node->hurry = true;
}

static enum err commit(struct node *node, struct node_time now)
{
    const uint8_t *bytes = NULL;
    size_t len;
    enum err err = ERR_OK;

    if (!core_gathered(node->core)) {
        err = log_joined(node);
    } else {
        err = core_seal(node->core, now.wall_ms, &bytes, &len);
        if (err == ERR_OK)
            err = wal_append(node->wal, bytes, len);
    }
    if (err != ERR_OK || !core_unwritten(node->core))
        return err;
    if (MUTANT(answer_before_sync))
        err = core_written(node->core, node->config.reply, node->config.reply_arg);
    if (err == ERR_OK && (bytes != NULL || !MUTANT(hold_unsynced)))
        err = wal_sync(node->wal);
    if (err != ERR_OK || MUTANT(answer_before_sync))
        return err;
    node->commits++;
    node->synced_ms = now.mono_ms;
    node->synced_lsn = wal_mark(node->wal).lsn;
    node->hurry = false;
    return core_written(node->core, node->config.reply, node->config.reply_arg);
}

static void answer(struct node *node, struct node_time now)
{
    core_time(node->core, now.mono_ms);
    core_answer(node->core, node->config.reply, node->config.reply_arg);
}

enum err node_flush(struct node *node, struct node_time now)
{
    enum err err;

    core_time(node->core, now.mono_ms);
    err = commit(node, now);
    if (err != ERR_OK)
        return err;
    if (core_stream_lost(node->core) && !MUTANT(keep_stream))
        err = renew_stream(node);
    if (err == ERR_OK && node->forked) {
        node->forked = false;
        err = find_proofs(node);
    }
    if (err != ERR_OK)
        return err;
    answer(node, now);
    return ERR_OK;
}

enum err node_commit(struct node *node, struct node_time now)
{
    if (!core_unwritten(node->core) || !shares(node, now.mono_ms))
        return node_flush(node, now);
    answer(node, now);
    return ERR_OK;
}

enum err node_retire(struct node *node, const struct core_retirement *wanted,
                     struct node_time now, enum status *status)
{
    enum err err = node_flush(node, now);

    *status = STATUS_UNKNOWN;
    if (err != ERR_OK ||
        core_retire(node->core, wanted, wal_room(node->wal), status) == CORE_ANSWERED)
        return err;
    return node_commit(node, now);
}

/* ---- segments and checkpoints ---- */

static uint64_t last_lsn(const struct node *node)
{
    return node->last.number != 0 ? node->last.mark.lsn : 0;
}

static bool changed(const struct node *node)
{
    struct wal_mark end = wal_mark(node->wal);

    /* A log that only just got its first segment holds nothing yet. */
    return end.check != node->last.mark.check;
}

static bool checkpoint_due(const struct node *node, uint64_t now_ms)
{
    if (node->twice)
        return true;
    return changed(node) &&
           (node->wanted || now_ms - node->last_ms >= node->config.checkpoint_ms ||
            wal_mark(node->wal).lsn - last_lsn(node) >= node->config.checkpoint_bytes);
}

/* Of the present, at the log's end. */
static enum err begin_draft(struct node *node, struct core *core)
{
    node->draft_mark = wal_mark(node->wal);
    node->wanted = false;
    return checkpoint_draft_new(core, &node->draft_mark, node->newest + 1,
                                node->config.core.crypto, &node->config.core.key,
                                &node->draft);
}

static enum err go_on_with_draft(struct node *node)
{
    size_t slice = node->config.slice != 0 ? node->config.slice : NODE_SLICE;
    enum err err = checkpoint_draft_step(node->draft, slice, &node->draft_make);

    node->drafted = err == ERR_OK;
    return err == ERR_AGAIN ? ERR_OK : err;
}

static enum err release(struct node *node)
{
    uint64_t lsn = MUTANT(release_newer) ? node->last.mark.lsn : node->before.mark.lsn;

    if (lsn > node->keep && !MUTANT(release_needed))
        lsn = node->keep;
    return wal_release(node->wal, lsn);
}

/* The new one stands: keep it and the one before it, and the log from that one on. */
static enum err checkpoint_made(struct node *node, struct node_time now)
{
    enum err err;

    node->before = node->last;
    node->last = (struct checkpoint){.number = ++node->newest, .mark = node->draft_mark};
    node->last_ms = now.mono_ms;
    node->last_wall_ms = now.wall_ms;
    node->wanted = node->wanted && changed(node);
    node->twice = false;
    err = remove_checkpoints(node, UINT64_MAX);
    if (err != ERR_OK || node->before.number == 0)
        return err;
    return release(node);
}

/* ---- going over to another node's checkpoint ----
 *
 * The new state is put together beside the old one, as of one place in the log, and made a checkpoint of
 * this node's own. Counts go on meanwhile, in the old one: they are behind that place in the log, where the new one
 * reads them once the file stands. A crash before that leaves the old state, and after it the new one, which is
 * what recovery would make of the same file and log. Rejected: stopping, and leaving it all to recovery.
 * That would end the conversation with every peer, and need a way to tell the master. */

static void drop_offer(struct node *node)
{
    free(node->offer.state);
    node->offer = (struct offer){0};
}

/* What the log shall say of it, before the place that the checkpoint is of. */
static enum err log_adoption(struct node *node)
{
    uint8_t bytes[BLOCK_ADOPTED_BYTES];
    struct writer w = writer_of(bytes, sizeof bytes);
    enum err err;

    if (node->offer
            .logged) /* Its file could not be made; there is no need to fill up the log. */
        return ERR_OK;
    node->offer.logged = true;
    write_u8(&w, BLOCK_ADOPTED);
    write_bytes(&w, node->offer.hash.byte, HASH_BYTES);
    write_bytes(&w, node->offer.seal.maker.byte, PUBLIC_KEY_BYTES);
    write_bytes(&w, node->offer.seal.signature, SIGNATURE_BYTES);
    err = wal_append(node->wal, bytes, w.len);
    return err == ERR_OK ? wal_sync(node->wal) : err;
}

static enum err succeed(struct node *node, struct core *core)
{
    struct reader state = reader_of(node->offer.state, node->offer.len);
    struct core_figures figures;
    enum err err = core_adopt(core, node->core, &state);

    if (err == ERR_OK && core_stream_lost(core)) {
        core_figures(node->core, &figures);
        core_heard_lost(node->core, &figures.stream, false);
        err = renew_stream(node);
    }
    if (err == ERR_OK && !MUTANT(adopt_bare))
        err = read_log(node, 0, core, core_adopt_record);
    return err == ERR_OK ? core_adopt_own(core, node->core) : err;
}

/* What is left out of the offers: only the state as it is can be trusted. */
static void refuse_offer(struct node *node, enum err err, uint64_t now_ms)
{
    node->stuck_ms = now_ms;
    node->stuck = NODE_GOES_ON;
    switch (err) {
    case ERR_EXISTS:
        log_info("a peer's checkpoint holds nothing that is not held here");
        break;
    case ERR_REFUSED:
        log_error("a peer's checkpoint is of another cluster, and was refused");
        break;
    case ERR_VERSION:
        log_error(
            "a peer's checkpoint is of a newer version: run that version here, too");
        break;
    case ERR_NOT_FOUND:
        node->stuck = NODE_STUCK_LOG;
        log_alarm(
            "a peer's checkpoint lacks blocks that were held here, and the log does not reach "
            "back to them: it was refused, and nothing is lost. A checkpoint made after that "
            "peer has caught up with this node will do");
        break;
    case ERR_CORRUPT:
        node->stuck = NODE_STUCK_FORK;
        log_alarm(
            "a peer's checkpoint contradicts this node's log, because a stream forks: "
            "it was refused, and nothing is lost. This node does not get on by itself: "
            "tallyctl status tells what to do");
        break;
    case ERR_AGAIN:
        node->stuck = NODE_STUCK_DOUBT;
        log_alarm(
            "a peer's checkpoint may take the place of what this node has counted: peers "
            "hold more of a stream of its own than it has written. It was refused, and "
            "nothing is lost. This node does not get on by itself: tallyctl status tells "
            "what to do");
        break;
    default:
        log_alarm("a peer's checkpoint is no state, though it is signed: %s",
                  err_name(err));
        break;
    }
    drop_offer(node);
}

static bool can_adopt(const struct node *node)
{
    return node->offer.state != NULL && node->successor == NULL &&
           !core_unwritten(node->core) && wal_room(node->wal) >= BLOCK_ADOPTED_BYTES;
}

/* Put the new state together, and begin to encode it. */
static enum err adopt(struct node *node, uint64_t now_ms)
{
    struct core *core = core_new(&node->config.core);
    enum err err = core != NULL ? succeed(node, core) : ERR_MEMORY;

    if (err == ERR_OK)
        err = log_adoption(node);
    else if (err != ERR_MEMORY && err != ERR_IO) {
        node->stuck_stream = *core_adopt_stopped(core);
        refuse_offer(node, err, now_ms);
        core_free(core);
        return ERR_OK;
    }
    if (err != ERR_OK) {
        if (core != NULL)
            core_free(core);
        return err;
    }
    node->successor = core;
    return begin_draft(node, core);
}

static enum err adopted(struct node *node, struct node_time now)
{
    enum err err = read_log(node, node->draft_mark.lsn, node->successor, core_replay);

    if (err != ERR_OK)
        return err;
    core_take_over(node->successor, node->core);
    core_free(node->core);
    node->core = node->successor;
    node->successor = NULL;
    drop_offer(node);
    err = checkpoint_made(node, now);
    node->twice = true;
    node->stuck = NODE_GOES_ON;
    log_info("went over to a peer's checkpoint, %s; blocks follow", node->make.name);
    return err;
}

enum err node_offer(struct node *node, uint8_t *state, size_t len,
                    const struct checkpoint_seal *seal)
{
    struct hash hash;

    if (node->offer.state != NULL)
        return ERR_AGAIN;
    if (!core_trusts(node->core, &seal->maker) ||
        !checkpoint_sealed(node->config.core.crypto, state, len, seal, &hash)) {
        log_alarm("a peer's checkpoint is not signed by a node of this cluster: refused");
        return ERR_REFUSED;
    }
    node->offer = (struct offer){.state = state, .len = len, .seal = *seal, .hash = hash};
    return ERR_OK;
}

enum err node_source(const struct node *node, struct checkpoint_source *source)
{
    *source = (struct checkpoint_source){0};
    if (node->last.number == 0)
        return ERR_NOT_FOUND;
    return checkpoint_source_open(node->config.disk, node->last.number, source);
}

uint64_t node_checkpoint(const struct node *node)
{
    return node->last.number;
}

/* ---- what is made ---- */

/* A make failed and left nothing behind: so it may be tried again, and that is all. Said when it
 * begins and when it ends, not every second. */
static void make_failed(struct node *node, enum err err, uint64_t now_ms)
{
    node->retry_ms = now_ms + MAKE_RETRY_MS;
    if (node->full)
        return;
    node->full = true;
    log_error("cannot make %s (%" PRIu64 " KiB): %s: %s; trying again every second",
              node->make.name, node->make.size / 1024, err_name(err),
              wal_room(node->wal) > 0 ? "counting goes on while the log has room"
                                      : "new counts are refused until there is room");
}

static enum err make_ended(struct node *node, struct node_time now)
{
    enum err made = node->config.disk->ops->made(node->config.disk);
    int what = (int)node->making;

    if (made == ERR_AGAIN)
        return ERR_OK;
    node->making = MAKING_NOTHING;
    if (what != MAKING_SEGMENT)
        drop_draft(node);
    if (made != ERR_OK) {
        if (what == MAKING_ADOPTED) { /* It is put together anew: counts have gone on. */
            core_free(node->successor);
            node->successor = NULL;
        }
        node->relief = what == MAKING_SEGMENT;
        node->wanted = node->wanted || what == MAKING_CHECKPOINT;
        make_failed(node, made, now.mono_ms);
        return ERR_OK;
    }
    node->retry_ms = 0;
    if (node->full && what != MAKING_RELIEF) {
        log_info("%s was made: all is well again", node->make.name);
        node->full = false;
    }
    if (what == MAKING_ADOPTED)
        return adopted(node, now);
    return what == MAKING_SEGMENT ? wal_segment_made(node->wal)
                                  : checkpoint_made(node, now);
}

/* The next draft, if one is due. */
static enum err start_draft(struct node *node, uint64_t now_ms)
{
    node->relief = node->relief && wal_has_old(node->wal);
    if (can_adopt(node) && !node->relief)
        return adopt(node, now_ms);
    return node->relief || checkpoint_due(node, now_ms) ? begin_draft(node, node->core)
                                                        : ERR_OK;
}

/* Segments first: counting waits for them. But where there was no room for one, a checkpoint goes ahead. */
static enum err start_make(struct node *node)
{
    bool relief = node->relief && node->draft != NULL;

    if (!relief && wal_wants_segment(node->wal, &node->make))
        node->making = MAKING_SEGMENT;
    else if (node->drafted) {
        node->make = node->draft_make;
        node->making = node->successor != NULL ? MAKING_ADOPTED
                       : relief                ? MAKING_RELIEF
                                               : MAKING_CHECKPOINT;
    } else
        return ERR_OK;
    node->relief = false;
    return node->config.disk->ops->make(node->config.disk, &node->make);
}

/* What was put off has waited long enough, or what comes next works on a state that has it. */
static bool flush_due(const struct node *node, uint64_t now_ms)
{
    return core_unwritten(node->core) &&
           (!shares(node, now_ms) || node->making == MAKING_ADOPTED ||
            (node->draft == NULL && (node->offer.state != NULL || node->relief ||
                                     checkpoint_due(node, now_ms))));
}

static enum err maintain(struct node *node, struct node_time now)
{
    enum err err = ERR_OK;

    if (node->making != MAKING_NOTHING)
        err = make_ended(node, now);
    if (err == ERR_OK && node->draft != NULL && !node->drafted)
        err = go_on_with_draft(node);
    if (err != ERR_OK || node->making != MAKING_NOTHING || now.mono_ms < node->retry_ms)
        return err;
    /* Where one make has just ended, and the next is due, with blocks put off: they are flushed first, with the next call. */
    if (node->draft == NULL && !core_unwritten(node->core))
        err = start_draft(node, now.mono_ms);
    return err == ERR_OK ? start_make(node) : err;
}

static uint64_t next_make(const struct node *node, uint64_t now_ms)
{
    if (node->draft != NULL && !node->drafted)
        return now_ms;
    if (node->making != MAKING_NOTHING)
        return UINT64_MAX; /* Its end calls. */
    if (node->retry_ms != 0)
        return node->retry_ms;
    return changed(node) ? node->last_ms + node->config.checkpoint_ms : UINT64_MAX;
}

enum err node_maintain(struct node *node, struct node_time now, uint64_t *next_ms)
{
    bool flushes = flush_due(node, now.mono_ms);
    enum err err = ERR_OK;

    assert(!core_gathered(node->core));
    if (flushes)
        err = node_flush(node, now);
    if (err == ERR_OK)
        err = maintain(node, now);
    if (err == ERR_OK)
        answer(node, now);
    if (now.mono_ms - node->stuck_ms > NODE_STUCK_MS)
        node->stuck = NODE_GOES_ON;
    *next_ms = next_make(node, now.mono_ms);
    if (core_due(node->core) < *next_ms)
        *next_ms = core_due(node->core);
    if (core_unwritten(node->core) && node->synced_ms + NODE_SHARE_MS < *next_ms)
        *next_ms = node->synced_ms + NODE_SHARE_MS;
    if (flushes) /* Peers are to hear of it. */
        *next_ms = now.mono_ms;
    return err;
}

void node_want_checkpoint(struct node *node)
{
    node->wanted = changed(node);
}

bool node_busy(const struct node *node)
{
    return node->making != MAKING_NOTHING || core_unwritten(node->core) ||
           ((node->wanted || node->draft != NULL) && node->retry_ms == 0);
}

bool node_short(const struct node *node)
{
    return !node->full && wal_room(node->wal) < BLOCK_MAX;
}

/* ---- looking ---- */

struct position node_position(const struct node *node)
{
    return core_position(node->core);
}

const struct wal *node_wal(const struct node *node)
{
    return node->wal;
}

void node_keep(struct node *node, uint64_t lsn)
{
    node->keep = lsn;
}

struct core *node_core(struct node *node)
{
    return node->core;
}

void node_figures(const struct node *node, struct node_figures *figures)
{
    core_figures(node->core, &figures->core);
    figures->end = wal_mark(node->wal);
    figures->first = wal_first(node->wal);
    figures->checkpoint = node->last.number;
    figures->checkpoint_lsn = last_lsn(node);
    figures->checkpoint_wall_ms = node->last_wall_ms;
    figures->recovered_blocks = node->recovered_blocks;
    figures->commits = node->commits;
    figures->full = node->full;
    figures->stuck = node->stuck;
    figures->stuck_stream = node->stuck_stream;
}

/* tests/simulation/cluster_check.c: what is promised of a cluster, besides what ledger.c and spy.c look at. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "replica/streams.h"
#include "tests/simulation/broken.h"
#include "tests/simulation/cluster.h"
#include "tests/simulation/format.h"
#include "tests/simulation/history.h"
#include "tests/simulation/trace.h"

/* Log segments that a node keeps when all peers have all, at most: from the one where the older checkpoint stands to
 * the one that is written, and the next, which is ready. */
enum { SEGMENTS_MAX = 5 };
/* Messages with blocks that were to be tried again later, and come when all are equal. */
enum { LATE_MAX = 3, STUCK_MS = 120 * 1000 };

/* ---- answers ---- */

/* Whether its process has seen that the stream forks, and takes no more of it. */
static bool is_frozen(const struct member *m, size_t stream)
{
    const struct stream *s =
        streams_find(core_streams(node_core(m->process)),
                     &archive_stream(m->cluster->archive, stream)->id);

    return s != NULL && s->frozen;
}

static bool holds_all(const struct member *m, const struct held *said)
{
    for (size_t i = 0; i < said->size; i++)
        if (held_number(&m->ledger.held, i) < held_number(said, i) && !is_frozen(m, i))
            return false;
    return true;
}

/* Whether it holds all that somebody has said that he holds, who has anything and has caught up himself; or all that anybody
 * has. */
static bool has_caught_up(const struct member *m)
{
    bool all = true;

    for (unsigned i = 0; i < m->cluster->plan.nodes; i++) {
        if (i == m->node || !m->listed[i])
            continue;
        if (!m->heard[i] || !holds_all(m, &m->said[i]))
            all = false;
        else if (held_blocks(&m->said[i]) > 0 && !m->joins[i])
            return true;
    }
    return all;
}

/* A node that begins waits until it has caught up with somebody, or long enough. */
void check_joins(struct member *m)
{
    if (m->fresh && (has_caught_up(m) || member_time(m).mono_ms >= m->join_ms))
        m->fresh = false;
}

static void check_joined(const struct member *m)
{
    if (m->fresh)
        broken("a number is said before the node has caught up with anybody");
}

/* Not a number that was said before, and is known again. */
static bool is_of_this_run(const struct member *m, const struct archived_count *counted)
{
    struct core_figures figures;

    core_figures(node_core(m->process), &figures);
    return id_equal(&archive_stream(m->cluster->archive, counted->block->stream)->id,
                    &figures.stream);
}

static bool is_this(const struct member *m, const struct archived_count *counted,
                    const struct msg_count_req *req)
{
    const struct cluster *c = m->cluster;

    return archive_stream(c->archive, counted->block->stream)->node == m->node &&
           counted->counter == history_counter(req->name, req->name_len) &&
           counted->value == req->amount &&
           held_has(c->archive, &m->ledger.held, counted->block);
}

static enum status status_of(const struct member *m, const struct archived_count *counted)
{
    return archive_stream(m->cluster->archive, counted->block->stream)->provisional
               ? STATUS_PROVISIONAL
               : STATUS_FINAL;
}

static void check_copies(const struct member *m, const struct archived *block)
{
    unsigned copies = (unsigned)__builtin_popcount(block->nodes);

    /* Of a stream that forks, numbers do not tell who holds which of its blocks. */
    if (copies < m->cluster->plan.copies &&
        !archive_stream(m->cluster->archive, block->stream)->forked)
        broken("a number is said of a block that %u nodes hold, and %u must", copies,
               m->cluster->plan.copies);
}

/* A count of a life that this disk has lost, which came back with a checkpoint: nobody here knows its id, but its worker had
 * heard of nothing behind it when it asked, and then it must not be counted. */
static void check_heard(const struct member *m, const struct msg_count_req *req,
                        const struct archived_count *counted)
{
    const struct archive *a = m->cluster->archive;
    const struct archived_count *earlier;

    if (!counted->again || counted->said)
        return;
    for (int64_t i = counted->before; i >= 0; i = earlier->before) {
        const struct archive_stream *s;

        earlier = archive_count_at(a, i);
        s = archive_stream(a, earlier->block->stream);
        if (s->node != m->node || m->ledger.copied ||
            held_number(&m->ledger.unread, earlier->block->stream) <
                earlier->block->number)
            continue;
        if (id_is_zero(&req->heard.stream) ||
            (id_equal(&req->heard.stream, &s->id) &&
             req->heard.number < earlier->block->number))
            broken("a count is counted again, and its worker had heard of nothing behind "
                   "the first block with it");
    }
}

/* A number that is said stands in a block of this node's, which is durable on its disk. */
static void check_said(struct member *m, const struct msg_count_req *req,
                       const struct msg_count_rep *rep)
{
    struct archive *a = m->cluster->archive;
    const struct archived_count *counted;
    bool stands = false;

    for (int64_t i = archive_counted(a, &req->id); i >= 0; i = counted->before) {
        counted = archive_count_at(a, i);
        if (!is_this(m, counted, req))
            continue;
        stands = stands ||
                 (counted->number == rep->number && rep->status == status_of(m, counted));
        if (is_of_this_run(m, counted))
            check_joined(m);
        if (is_of_this_run(m, counted) && counted->number == rep->number)
            check_heard(m, req, counted);
        if (counted->number == rep->number) {
            check_copies(m, counted->block);
            archive_said(m->cluster->archive, i);
        }
    }
    /* Of a stream that forks a checkpoint may bring the other content. */
    if (!stands && !m->cluster->resumed[m->node])
        broken("number %" PRId64
               " of counter %u is said, and no block on the disk says so",
               rep->number, history_counter(req->name, req->name_len));
}

static void check_total(const struct member *m, uint32_t counter, int64_t total)
{
    if (total != held_total(&m->ledger.held, counter))
        broken("the total of counter %u is said to be %" PRId64
               ", and the blocks come to %" PRId64,
               counter, total, held_total(&m->ledger.held, counter));
}

static void check_unknown(const struct member *m)
{
    const struct cluster *c = m->cluster;
    if (!m->amnesia && !c->copied[m->node] && c->plan.copies == 1 &&
        archive_counts(c->archive) + m->taken.count < c->plan.requests)
        broken("UNKNOWN is answered, and nothing was ever forgotten");
}

static void check_unavailable(const struct member *m)
{
    if (core_is_open(node_core(m->process)) &&
        core_copies_to_be_had(node_core(m->process)) &&
        wal_room(node_wal(m->process)) >= BLOCK_MAX)
        broken("UNAVAILABLE is answered, and the log has room");
}

void check_number(struct member *m, const struct ask *ask,
                  const struct msg_count_rep *rep)
{
    const struct msg_count_req *req = &ask->req;

    if (!id_equal(&rep->id, &req->id))
        broken("an answer has another id than its question");
    switch (rep->status) {
    case STATUS_FINAL:
    case STATUS_PROVISIONAL:
        check_said(m, req, rep);
        check_total(m, history_counter(req->name, req->name_len), rep->total);
        return;
    case STATUS_UNKNOWN:
        check_unknown(m);
        return;
    case STATUS_UNAVAILABLE:
        check_unavailable(m);
        return;
    default:
        broken("a good count is refused with status %d", (int)rep->status);
    }
}

void check_got(struct member *m, const struct msg_get_req *req,
               const struct msg_get_rep *rep)
{
    if (rep->status == STATUS_UNAVAILABLE && !core_is_open(node_core(m->process)))
        return;
    if (!status_has_number(rep->status))
        broken("a get is answered with status %d", (int)rep->status);
    if ((rep->status == STATUS_PROVISIONAL) != m->ledger.peered)
        broken("a total is said to be %s", status_name(rep->status));
    check_joined(m);
    check_total(m, history_counter(req->name, req->name_len), rep->total);
}

/* ---- one node's state ---- */

static void check_items(struct member *m)
{
    const struct item *item =
        core_item_from(node_core(m->process), &counter_component, "", 0, false);

    for (; item != NULL; item = counter_component.next(item))
        check_total(m, history_counter(item->key, item->key_len), item->total);
}

void check_member(struct member *m)
{
    m->cluster->figures->checks++;
    ledger_check(&m->ledger, node_core(m->process));
    check_items(m);
}

static uint8_t *state_of(struct core *core, size_t *len)
{
    size_t max = core_encoded_max(core);
    uint8_t *bytes = malloc(max);
    struct writer w = writer_of(bytes, max);

    if (bytes == NULL)
        abort();
    core_encode_state(core, &w);
    if (w.full)
        broken("the state does not fit where it must");
    *len = w.len;
    return bytes;
}

/* A core that has read the blocks that a disk holds, stream by stream, and nothing else. */
static struct core *replayed(const struct member *m)
{
    const struct cluster *c = m->cluster;
    const struct core_config config = {.crypto = c->crypto,
                                       .key = c->keys[m->node],
                                       .items_max = 1000,
                                       .requests = c->plan.requests};
    struct core *core = core_new(&config);

    if (core == NULL)
        abort();
    for (size_t i = 0; i < m->ledger.held.size; i++) {
        const struct archived *end = m->ledger.held.end[i];

        for (uint64_t n = 1; end != NULL && n <= end->number; n++) {
            const struct archived *b = end;
            enum err err;

            if (archive_stream(c->archive, i)->forked)
                while (b->number > n)
                    b = b->parent;
            else
                b = archive_stream(c->archive, i)->blocks[n - 1];
            err = core_replay(core, b->bytes, b->len);
            if (err != ERR_OK)
                broken("a block of the archive cannot be replayed: %s", err_name(err));
        }
    }
    return core;
}

static void check_replay(struct member *m)
{
    struct core *core = replayed(m);
    size_t len, replayed_len;
    uint8_t *state = state_of(node_core(m->process), &len),
            *bytes = state_of(core, &replayed_len);

    /* The cluster's id is known from a block. */
    if (held_blocks(&m->ledger.held) > 0 &&
        (len != replayed_len || memcmp(state, bytes, len) != 0))
        broken("the state is not the one that a replay of all its blocks gives");
    m->cluster->figures->replays++;
    free(state);
    free(bytes);
    core_free(core);
}

/* ---- the log ---- */

static bool has_copies(const struct cluster *c)
{
    for (unsigned i = 0; i < c->plan.nodes; i++)
        if (c->copied[i])
            return true;
    return false;
}

/* Whether the node's peer lacks this block, and has said that it lacks nothing before it: who lacks more needs a
 * checkpoint anyhow. */
static bool needs(const struct member *m, unsigned peer, const struct archived *block)
{
    const struct cluster *c = m->cluster;

    return peer != m->node && m->listed[peer] &&
           (block->nodes & UINT32_C(1) << peer) == 0 &&
           (block->parent == NULL || held_has(c->archive, &m->said[peer], block->parent));
}

/* A block of this node's own that goes with its segment must have been on the disk of each peer in the list. */
static void check_goes(const struct member *m, const struct format_frame *f)
{
    const struct cluster *c = m->cluster;
    const struct archived *block = archive_known(c->archive, f->payload, f->payload_len);

    if (block == NULL || archive_stream(c->archive, block->stream)->node != m->node ||
        has_copies(c))
        return; /* Where two write one stream, or one address leads to two disks, an acknowledgement says little. */
    for (unsigned i = 0; i < c->plan.nodes; i++)
        if (needs(m, i, block))
            broken("block %" PRIu64 " of a stream of this node's own leaves the log, and "
                   "node %u has not got it",
                   block->number, i);
}

void check_removed_log(struct member *m, const struct simfile *file)
{
    uint64_t size = simfile_size(file), at = FORMAT_SEGMENT_HEADER;
    uint8_t *bytes = malloc((size_t)size);
    struct format_segment segment;
    struct format_frame f;

    if (bytes == NULL)
        abort();
    simfile_read(file, 0, bytes, (size_t)size);
    if (m->process != NULL && format_segment(bytes, &segment))
        for (; format_frame(bytes + at, (size_t)(size - at), segment.base + at, &f);
             at += f.len)
            check_goes(m, &f);
    free(bytes);
}

/* ---- checkpoints of others ---- */

/* Of a stream that is frozen, no checkpoint takes the place of what is held. */
void check_adopted(const struct member *m, const struct held *before)
{
    const struct archive *a = m->cluster->archive;

    for (size_t i = 0; i < archive_streams(a); i++) {
        const struct archived *end = held_end(before, i);

        if (end != NULL && is_frozen(m, i) && !held_has(a, &m->ledger.held, end))
            broken("a checkpoint takes the place of %" PRIu64
                   " blocks that are held of a stream that forks",
                   end->number);
    }
}

/* ---- alarms ---- */

static bool has_forked(const struct cluster *c)
{
    for (size_t i = 0; i < archive_streams(c->archive); i++)
        if (archive_stream(c->archive, i)->forked)
            return true;
    return false;
}

static bool was_resumed(const struct cluster *c)
{
    for (unsigned i = 0; i < c->plan.nodes; i++)
        if (c->resumed[i])
            return true;
    return false;
}

/* Somebody holds less than he held, or what he holds is another machine's too. */
static bool has_forgotten(const struct cluster *c)
{
    for (unsigned i = 0; i < c->plan.nodes; i++)
        if (c->member[i]->amnesia || c->copied[i])
            return true;
    return c->figures->faults[CLUSTER_reload] > 0;
}

static bool has_reloaded(const struct cluster *c)
{
    return c->figures->faults[CLUSTER_reload] > 0 || c->plan.unlisted;
}

/* An alarm, and what it must come of. */
static const struct {
    const char *says;
    bool (*cause)(const struct cluster *c);
} alarms[] = {
    {"are both signed, and contradict each other", has_forked},
    {"this node's stream was written to by another process", was_resumed},
    {"a peer's checkpoint contradicts this node's log", has_forked},
    {"a peer's checkpoint may take the place of what this node has counted", was_resumed},
    {"a peer's checkpoint lacks blocks that were held here", has_forgotten},
    {"a peer's checkpoint is not signed by a node of this cluster", has_reloaded},
    {"another process with its key is alive", has_copies},
    {"another process with this node's key is alive", has_copies},
};

/* Blocks that a checkpoint lacks come from this node's own log, as long as that reaches back to them. */
static void check_lacks(const struct member *m, const char *line)
{
    if (strstr(line, "a peer's checkpoint lacks blocks") != NULL &&
        wal_first(node_wal(m->process)) == 0 && held_blocks(&m->ledger.unread) == 0)
        broken("a checkpoint is refused for want of blocks, and the log has them all");
}

void check_alarm(struct cluster *c, const char *line)
{
    if (c->acting != NULL)
        check_lacks(c->acting, line);
    /* A fork is a case for people: who holds the other content, and needs a checkpoint, does not get on by himself. Nor do
     * two of which each has forgotten what the other lacks (seed 1757): that is told once it has lasted. */
    if (c->acting != NULL && strstr(line, "a peer's checkpoint") != NULL &&
        (has_forked(c) || was_resumed(c) ||
         (c->calm && c->now_ms - c->calm_ms > STUCK_MS)))
        c->acting->stuck = true;
    for (size_t i = 0; i < sizeof alarms / sizeof *alarms; i++)
        if (strstr(line, alarms[i].says) != NULL && alarms[i].cause(c))
            return;
    broken("an alarm without a cause: %s", line);
}

/* ---- all nodes ---- */

/* Of each stream that does not fork both hold the same. */
static bool same(const struct cluster *c, const struct held *a, const struct held *b)
{
    for (size_t i = 0; i < archive_streams(c->archive); i++)
        if (!archive_stream(c->archive, i)->forked && held_end(a, i) != held_end(b, i))
            return false;
    return true;
}

static bool holds_reference(const struct cluster *c, const struct held *h)
{
    for (size_t i = 0; i < archive_streams(c->archive); i++)
        if (!archive_stream(c->archive, i)->forked &&
            held_number(h, i) < held_number(&c->reference, i))
            return false;
    return true;
}

/* Why it waits for people, as it says: who does not has to catch up. */
enum node_stuck check_stuck(const struct member *m)
{
    struct node_figures figures;

    if (!m->stuck || m->process == NULL)
        return NODE_GOES_ON;
    node_figures(m->process, &figures);
    return figures.stuck;
}

static bool is_stuck(const struct member *m)
{
    return check_stuck(m) != NODE_GOES_ON;
}

/* It has nothing to do, and holds all that there is, or waits for people: which one that joins may, too (seed 3090). An
 * orderly end that is under way comes first (seed 6384): there will be another process. */
static bool is_settled(const struct cluster *c, const struct member *m)
{
    if (!member_runs(m) || m->stopping ||
        (!core_is_open(node_core(m->process)) && !is_stuck(m)) ||
        m->queue.count + m->taken.count + m->lost.count > 0 ||
        core_unwritten(node_core(m->process)))
        return false;
    return is_stuck(m) || c->equal_ms > 0 || holds_reference(c, &m->ledger.held);
}

/* One that is not stuck; NULL: all are. */
static const struct member *first_of(const struct cluster *c)
{
    for (unsigned i = 0; i < c->plan.nodes; i++)
        if (!is_stuck(c->member[i]))
            return c->member[i];
    return NULL;
}

bool check_equal(struct cluster *c)
{
    const struct member *first = first_of(c);

    for (unsigned i = 0; i < c->plan.nodes; i++) {
        const struct member *m = c->member[i];

        if (!is_settled(c, m) ||
            (!is_stuck(m) && !same(c, &m->ledger.held, &first->ledger.held)))
            return false;
    }
    return true;
}

static bool is_any_stuck(const struct cluster *c)
{
    for (unsigned i = 0; i < c->plan.nodes; i++)
        if (is_stuck(c->member[i]))
            return true;
    return false;
}

/* All are there, and hold all that each has counted: nobody refuses a count for want of copies any more. But who is stuck may
 * lack for ever what no log has any more (seed 4259), so there must be enough others. */
static void check_copies_again(const struct cluster *c)
{
    unsigned going = 0;

    for (unsigned i = 0; i < c->plan.nodes; i++)
        going += !is_stuck(c->member[i]);
    if (going < c->plan.copies)
        return;
    for (unsigned i = 0; i < c->plan.nodes; i++) {
        const struct member *m = c->member[i];

        if (!is_stuck(m) && !core_copies_to_be_had(node_core(m->process)))
            broken("node %u refuses counts for want of copies, and all are equal", i);
    }
}

/* A message of each kind that a link at rest may carry: one HAVE a second by a clock that is a tenth too fast. */
void check_rest(struct cluster *c, uint64_t ms)
{
    check_copies_again(c);
    /* Who is stuck is offered what it cannot take. And seed 88: behind a clone that stayed a node may go on to be offered
     * a checkpoint that it does not need. */
    if (is_any_stuck(c) || has_copies(c))
        return;
    for (unsigned i = 0; i < c->plan.nodes; i++) {
        for (unsigned j = 0; j < c->plan.nodes; j++) {
            struct way *way = &c->way[i][j];

            if (way->blocks > LATE_MAX)
                broken("node %u sends blocks to node %u, and all are equal: %" PRIu64
                       " messages in %" PRIu64 " ms",
                       i, j, way->blocks, ms);
            if (way->checkpoints > 0)
                broken("node %u sends a checkpoint to node %u, and all are equal", i, j);
            if (way->sent > ms * 12 / 10000 + 3)
                broken("node %u sends %" PRIu64 " messages to node %u in %" PRIu64
                       " ms, and there is nothing to say",
                       i, way->sent, j, ms);
        }
    }
}

static void count_segment(void *arg, struct simfile *file)
{
    *(size_t *)arg += strstr(simfile_name(file), ".log") != NULL;
}

static void check_log(struct member *m)
{
    size_t segments = 0;

    simdisk_each(m->disk, count_segment, &segments);
    if (segments > SEGMENTS_MAX)
        broken("%zu segments of the log are kept, and all nodes hold all of it",
               segments);
}

/* All blocks that stand in a log, also as proof. */
static void note_logged(void *arg, struct simfile *file)
{
    const struct member *m = arg;
    uint64_t size = simfile_size(file), at = FORMAT_SEGMENT_HEADER;
    struct format_segment segment;
    struct format_frame f;
    uint8_t *bytes;

    if (strstr(simfile_name(file), ".log") == NULL)
        return;
    bytes = malloc((size_t)size);
    if (bytes == NULL)
        abort();
    simfile_read(file, 0, bytes, (size_t)size);
    if (format_segment(bytes, &segment))
        for (; format_frame(bytes + at, (size_t)(size - at), segment.base + at, &f);
             at += f.len) {
            bool proof = f.payload_len > 0 && f.payload[0] == BLOCK_PROOF;
            struct archived *block = archive_known(m->cluster->archive, f.payload + proof,
                                                   f.payload_len - proof);

            if (block != NULL)
                block->logged = true;
        }
    free(bytes);
}

/* Do two blocks contradict each other that somebody still has? All contents under a number are linked. */
static bool is_provable(const struct archive_stream *s)
{
    for (size_t i = 0; i < s->count; i++)
        for (const struct archived *a = s->blocks[i]; a != NULL; a = a->other) {
            if (!a->logged)
                continue;
            for (const struct archived *b = a->other; b != NULL; b = b->other)
                if (b->logged)
                    return true;
            for (const struct archived *b = i + 1 < s->count ? s->blocks[i + 1] : NULL;
                 b != NULL; b = b->other)
                if (b->logged && b->parent != a)
                    return true;
        }
    return false;
}

/* Whoever holds a block of a stream that forks has frozen it, if there is a proof: all have met. A single node that knows of
 * it is enough for all to know. Who is stuck waits for people, and they have been told. */
static void check_fork(struct cluster *c, size_t stream)
{
    if (!is_provable(archive_stream(c->archive, stream)))
        return;
    for (unsigned i = 0; i < c->plan.nodes; i++) {
        const struct member *m = c->member[i];

        if (!is_stuck(m) && held_number(&m->ledger.held, stream) > 0 &&
            !is_frozen(m, stream))
            broken("node %u holds blocks of a stream that forks, and has not frozen it",
                   i);
    }
}

static void check_same_bytes(struct cluster *c)
{
    size_t len, other_len;
    uint8_t *first = state_of(node_core(c->member[0]->process), &len);

    for (unsigned i = 1; i < c->plan.nodes; i++) {
        uint8_t *other = state_of(node_core(c->member[i]->process), &other_len);

        if (len != other_len || memcmp(first, other, len) != 0)
            broken("nodes 0 and %u hold the same blocks, and have other states", i);
        free(other);
    }
    free(first);
}

void check_end(struct cluster *c)
{
    for (unsigned i = 0; i < c->plan.nodes; i++) {
        if (!is_stuck(c->member[i]) && !holds_reference(c, &c->member[i]->ledger.held))
            broken("node %u lacks blocks that were durable when faults ceased", i);
        check_member(c->member[i]);
        if (!is_any_stuck(c))
            check_log(c->member[i]);
    }
    if (has_forked(c))
        for (unsigned i = 0; i < c->plan.nodes; i++)
            simdisk_each(c->member[i]->disk, note_logged, c->member[i]);
    for (size_t i = 0; i < archive_streams(c->archive); i++)
        if (archive_stream(c->archive, i)->forked)
            check_fork(c, i);
    if (!has_forked(c) && !is_any_stuck(c))
        check_same_bytes(c);
    check_replay(c->member[c->options->seed % c->plan.nodes]);
}

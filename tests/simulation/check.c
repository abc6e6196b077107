/* tests/simulation/check.c: what is looked at when the process has recovered: that its
 * state, its memory and its files are what the durable blocks say. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulation/broken.h"
#include "tests/simulation/idmap.h"
#include "tests/simulation/sim.h"
#include "tests/simulation/trace.h"

/* One in so many recoveries is looked at in full. */
enum { FULLY_EVERY = 8 };

static void check_totals(struct sim *s)
{
    const struct history_total *totals = history_totals(s->history);
    size_t count = 0, known = 0;
    const struct item *item =
        core_item_from(node_core(s->process.node), &counter_component, "", 0, false);

    for (; item != NULL; item = counter_component.next(item), count++) {
        uint32_t counter = history_counter(item->key, item->key_len);

        if (counter >= HISTORY_COUNTERS || !totals[counter].known)
            broken("after a recovery there is a counter that no block has");
        if (item->total != totals[counter].total)
            broken("after a recovery counter %u stands at %" PRId64
                   ", and the blocks say %" PRId64,
                   counter, item->total, totals[counter].total);
    }
    for (size_t i = 0; i < HISTORY_COUNTERS; i++)
        known += totals[i].known;
    if (count != known)
        broken("after a recovery there are %zu counters, and the blocks have %zu", count,
               known);
}

/* ---- the node's own memory ---- */

static uint8_t *own_memory(struct core *core, struct reader *r)
{
    size_t max = core_encoded_max(core);
    uint8_t *bytes = malloc(max);
    struct writer w = writer_of(bytes, max);

    if (bytes == NULL)
        abort();
    core_encode_own(core, &w);
    if (w.full)
        broken("the memory of ids does not fit where it must");
    *r = reader_of(bytes, w.len);
    return bytes;
}

static void check_own_streams(const struct sim *s, struct reader *r)
{
    uint64_t count = read_varint(r);

    if (count != history_streams(s->history))
        broken("the node knows %" PRIu64 " streams of its own, and wrote %zu", count,
               history_streams(s->history));
    for (uint64_t i = 0; i < count; i++) {
        struct id id;

        read_copy(r, id.byte, sizeof id.byte);
        if (!id_equal(&id, &history_stream(s->history, (size_t)i)->id))
            broken(
                "the node's own streams stand in another order than they were written");
    }
}

/* The frame of a place in the node's own history; -1: before all. */
static int64_t place_frame(const struct sim *s, uint64_t stream, uint64_t number)
{
    if (stream == 0)
        return -1;
    if (stream > history_streams(s->history))
        broken("a place in the node's memory names no stream of its own");
    return (int64_t)(history_stream(s->history, (size_t)stream - 1)->first + number) - 1;
}

static void check_request(const struct sim *s, struct reader *r, struct idmap *known)
{
    uint64_t stream, number;
    int64_t value, said, frame;
    struct id id;

    read_copy(r, id.byte, sizeof id.byte);
    read_varint(r); /* the counter, by its place in their order */
    value = read_svarint(r);
    said = read_svarint(r);
    stream = read_varint(r);
    number = read_varint(r);
    frame = place_frame(s, stream, number);
    if (frame < 0 || (size_t)frame >= history_frames(s->history))
        broken("a remembered count is of no block");
    if (!history_has(s->history, &id, (size_t)frame, value, said))
        broken("a remembered count does not stand in the block that it names");
    idmap_set(known, &id, 1);
}

/* Every request behind the reach is remembered, with what was said. */
static void check_memory(struct sim *s)
{
    struct idmap known = {0};
    struct reader r;
    uint8_t *bytes = own_memory(node_core(s->process.node), &r);
    int64_t reach, right;
    uint64_t stream, number, count;

    check_own_streams(s, &r);
    if (read_varint(&r) != 0)
        broken("a stream is frozen though nobody else writes");
    stream = read_varint(&r);
    number = read_varint(&r);
    count = read_varint(&r);
    reach = place_frame(s, stream, number);
    right = history_reach(s->history);
    if (reach != right)
        broken("the node's memory reaches back to block %" PRId64
               " of its own, and must to %" PRId64,
               reach, right);
    for (uint64_t i = 0; i < count; i++)
        check_request(s, &r, &known);
    if (!reader_done(&r))
        broken("the node's memory cannot be read");
    for (size_t i = history_counts(s->history); i > 0; i--) {
        const struct counted *c = history_count_at(s->history, i - 1);

        if ((int64_t)c->frame <= reach)
            break;
        if (idmap_get(&known, &c->id) < 0)
            broken(
                "a count of block %u of its own is not remembered (%zu of %zu, before: "
                "%" PRId64 "), and the memory of %zu, with %" PRIu64
                " in it, says that it reaches back to %" PRId64,
                c->frame, i - 1, history_counts(s->history), c->before, s->plan.requests,
                count, reach);
    }
    idmap_clear(&known);
    free(bytes);
}

/* ---- the disk ---- */

static void file_not_durable(void *arg, struct simfile *file)
{
    struct sim *s = arg;
    uint64_t end = history_end(s->history), base, from, len;
    struct format_segment segment;
    uint8_t header[FORMAT_SEGMENT_HEADER];

    if (!is_log(file))
        return;
    simfile_read(file, 0, header, sizeof header);
    format_segment(header, &segment);
    base = segment.base;
    if (base + segment.size <= end)
        return;
    from = end > base + FORMAT_SEGMENT_HEADER ? end - base : FORMAT_SEGMENT_HEADER;
    len = segment.size - from < WAL_BATCH_MAX ? segment.size - from : WAL_BATCH_MAX;
    if (!simfile_zero(file, from, len))
        broken("%s: what stands behind the log's end was not cleared",
               simfile_name(file));
}

static void check_frames(struct sim *s)
{
    uint64_t first;
    struct node_figures figures;

    node_figures(s->process.node, &figures);
    first = figures.first;
    for (size_t i = history_frames(s->history); i > 0; i--) {
        const struct kept_frame *f = history_frame(s->history, i - 1);

        if (f->lsn < first)
            break;
        if (!damage_frame_whole(s, f))
            broken("the durable block at LSN %" PRIu64 " is not on the disk any more",
                   f->lsn);
    }
}

void check_recovered(struct sim *s)
{
    check_totals(s);
    simdisk_each(s->disk, file_not_durable, s);
    if (!s->calm && !rng_chance(&s->rng, 1, FULLY_EVERY))
        return;
    check_memory(s);
    if (!s->rotten)
        check_frames(s);
    check_replay(s);
}

/* ---- replay ---- */

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

/* The state that the process has is the one that all blocks from the first on give. */
void check_replay(struct sim *s)
{
    struct core_config config = {.crypto = s->crypto,
                                 .key = s->key,
                                 .items_max = s->plan.items_max,
                                 .requests = s->plan.requests};
    struct core *core = core_new(&config);
    size_t len, replayed_len;
    uint8_t *state, *replayed;

    if (core == NULL)
        abort();
    for (size_t i = 0; i < history_frames(s->history); i++) {
        const struct kept_frame *f = history_frame(s->history, i);
        enum err err = core_replay(core, f->payload, f->payload_len);

        if (err != ERR_OK)
            broken("block %zu of the archive cannot be replayed: %s", i, err_name(err));
    }
    state = state_of(node_core(s->process.node), &len);
    replayed = state_of(core, &replayed_len);
    /* The cluster's id is drawn anew as long as no block names it. */
    if (history_frames(s->history) > 0 &&
        (len != replayed_len || memcmp(state, replayed, len) != 0))
        broken("the state is not the one that a replay of all blocks gives");
    free(state);
    free(replayed);
    core_free(core);
    s->result->replays++;
    trace(TRACE_REPLAYED, history_frames(s->history), 0);
}

/* ---- what is removed ---- */

struct keeping {
    const struct simfile *removed;
    uint64_t end; /* of the segment that goes; 0: a checkpoint goes */
    size_t ways;  /* to recover that are left */
};

static void keeps(void *arg, struct simfile *file)
{
    struct keeping *k = arg;
    uint8_t header[FORMAT_CHECKPOINT_HEADER];
    struct format_checkpoint checkpoint;

    if (file == k->removed)
        return;
    if (is_log(file)) {
        k->ways += strtoull(simfile_name(file), NULL, 10) == 1;
        return;
    }
    k->ways++;
    if (!damage_file_whole(file))
        return;
    simfile_read(file, 0, header, sizeof header);
    format_checkpoint(header, &checkpoint);
    if (checkpoint.lsn < k->end)
        broken("%s is removed, and %s needs it", simfile_name(k->removed),
               simfile_name(file));
}

/* Whatever goes, there must be two ways to the present state: two checkpoints, or one and
 * the whole log. */
void check_removed(struct sim *s, const struct simfile *file)
{
    struct keeping k = {.removed = file};
    struct format_segment segment;
    uint8_t header[FORMAT_SEGMENT_HEADER];

    if (is_log(file)) {
        simfile_read(file, 0, header, sizeof header);
        format_segment(header, &segment);
        k.end = segment.base + segment.size;
    }
    simdisk_each(s->disk, keeps, &k);
    if (k.ways < 2)
        broken("%s is removed, and there is only one way left to recover",
               simfile_name(file));
}

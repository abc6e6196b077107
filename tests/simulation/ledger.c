#include "tests/simulation/ledger.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/byte.h"
#include "replica/streams.h"
#include "tests/simulation/broken.h"
#include "tests/simulation/format.h"

struct ledger_tried {
    uint64_t lsn, check;
    size_t len;
    struct archived *block;
};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

void ledger_clear(struct ledger *l)
{
    held_clear(&l->held);
    held_clear(&l->unread);
    held_clear(&l->seen);
    free(l->tried);
    l->tried = NULL;
    l->tried_count = l->tried_size = 0;
}

/* ---- writing ---- */

/* Of a stream the last block that is held, or was written since. */
static const struct archived *last_written(const struct ledger *l, uint32_t stream)
{
    for (size_t i = l->tried_count; i > 0; i--)
        if (l->tried[i - 1].block->stream == stream)
            return l->tried[i - 1].block;
    return held_end(&l->held, stream);
}

/* A count that its node holds, and has not forgotten, is not counted again. In a block counts stand in another order than
 * they came in; of those that the memory holds a block has half at most. */
static void check_count(const struct ledger *l, int64_t index)
{
    const struct archive *a = l->archive;
    const int64_t count = (int64_t)archive_counts(a);
    const struct archived_count *earlier;

    for (int64_t i = archive_count_at(a, index)->before; i >= 0; i = earlier->before) {
        earlier = archive_count_at(a, i);
        if (l->copied || archive_stream(a, earlier->block->stream)->node != l->node ||
            !held_has(a, &l->held, earlier->block))
            continue;
        if (held_number(&l->unread, earlier->block->stream) >= earlier->block->number)
            archive_again(l->archive, index);
        else if ((l->forgets ? count : count - i) < (int64_t)l->requests / 2)
            broken(
                "a count is counted again, and its node holds the first block with it");
    }
}

static void check_once(const struct ledger *l, const struct archived *block)
{
    for (int64_t i = (int64_t)archive_counts(l->archive) - 1;
         i >= 0 && archive_count_at(l->archive, i)->block == block; i--)
        check_count(l, i);
}

/* Numbers are FINAL as long as there never was a peer. */
static struct archived *add_block(struct ledger *l, const uint8_t *bytes, size_t len)
{
    struct archived *block = archive_add(l->archive, l->node, &l->seen, bytes, len);

    check_once(l, block);
    if (block->number == 1 &&
        archive_stream(l->archive, block->stream)->provisional != l->peered)
        broken("a stream says of its numbers that they are %s",
               l->peered ? "FINAL, and there are other nodes"
                         : "PROVISIONAL, and there never was a peer");
    return block;
}

/* A snapshot that is resumed before what was written behind it is durable may write the same once more, to the byte. */
static bool may_write_again(const struct ledger *l, const struct archived *block)
{
    const struct archive_stream *s = archive_stream(l->archive, block->stream);

    return s->node == l->node && s->may_fork;
}

static struct archived *take_block(struct ledger *l, const uint8_t *bytes, size_t len)
{
    struct archived *block = archive_known(l->archive, bytes, len);
    const struct archived *last;

    if (block == NULL)
        block = add_block(l, bytes, len);
    else if (block->nodes == 0 && !may_write_again(l, block))
        broken("block %" PRIu64 " of a stream is taken over before it was durable at its "
               "maker",
               block->number);
    if (archive_stream(l->archive, block->stream)->provisional)
        l->peered = true;
    last = last_written(l, block->stream);
    if (last != NULL && last->number >= block->number)
        broken("block %" PRIu64 " of a stream is written, and %" PRIu64
               " of them are held already",
               block->number, last->number);
    if ((last != NULL ? last->number : 0) + 1 < block->number)
        broken("block %" PRIu64 " of a stream is written, and only %" PRIu64 " are held",
               block->number, last != NULL ? last->number : 0);
    if (last != block->parent)
        broken("block %" PRIu64 " of a stream is written behind another one than it "
               "continues",
               block->number);
    return block;
}

static void take_proof(struct ledger *l, const uint8_t *bytes, size_t len)
{
    const struct archived *block = archive_known(l->archive, bytes, len);

    if (block == NULL || block->nodes == 0)
        broken("what is written as proof of a fork is no block that anybody holds");
    if (!archive_stream(l->archive, block->stream)->forked)
        broken("what is written as proof of a fork is of a stream that does not fork");
    l->proofs++;
}

static void take_frame(struct ledger *l, const struct format_frame *f)
{
    struct archived *block;

    if ((f->payload_len == BLOCK_ADOPTED_BYTES && f->payload[0] == BLOCK_ADOPTED) ||
        (f->payload_len == BLOCK_JOINS_BYTES && f->payload[0] == BLOCK_JOINS))
        return;
    if (f->payload_len == BLOCK_DOUBT_BYTES && f->payload[0] == BLOCK_DOUBT)
        return;
    if (f->payload[0] == BLOCK_PROOF) {
        take_proof(l, f->payload + 1, f->payload_len - 1);
        return;
    }
    block = take_block(l, f->payload, f->payload_len);
    if (l->tried_count == l->tried_size) {
        l->tried_size = l->tried_size == 0 ? 16 : 2 * l->tried_size;
        l->tried = must(realloc(l->tried, l->tried_size * sizeof *l->tried));
    }
    l->tried[l->tried_count++] = (struct ledger_tried){f->lsn, f->check, f->len, block};
}

static bool segment_of(const struct simfile *file, struct format_segment *segment)
{
    uint8_t header[FORMAT_SEGMENT_HEADER];

    if (strstr(simfile_name(file), ".log") == NULL)
        return false;
    simfile_read(file, 0, header, sizeof header);
    return format_segment(header, segment);
}

/* What a recovery writes was written before: ledger_recovered() looks at what comes of it. */
void ledger_writes(struct ledger *l, const struct simfile *file, uint64_t offset,
                   const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    struct format_segment segment;
    struct format_frame f;
    uint64_t lsn;

    if (!l->live)
        return;
    if (!segment_of(file, &segment))
        broken("%s is written to", simfile_name(file));
    lsn = segment.base + offset;
    for (; format_frame(at, len, lsn, &f); at += f.len, len -= f.len, lsn += f.len)
        take_frame(l, &f);
    if (len > 0)
        broken("%s: what is written at LSN %" PRIu64 " is no frame", simfile_name(file),
               lsn);
}

static bool is_durable(const struct simfile *file, const struct format_segment *segment,
                       const struct ledger_tried *t)
{
    struct format_frame found;
    uint8_t *bytes;
    bool same;

    if (t->lsn < segment->base || t->lsn + t->len > segment->base + segment->size)
        return false;
    bytes = must(malloc(t->len));
    same = simfile_durable(file, t->lsn - segment->base, bytes, t->len) &&
           format_frame(bytes, t->len, t->lsn, &found) && found.check == t->check;
    free(bytes);
    return same;
}

void ledger_synced(struct ledger *l, const struct simfile *file)
{
    struct format_segment segment;
    size_t n = 0;

    if (l->tried_count == 0 || !segment_of(file, &segment))
        return;
    for (; n < l->tried_count && is_durable(file, &segment, &l->tried[n]); n++) {
        archive_durable(l->archive, l->tried[n].block, l->node);
        held_set(&l->held, l->tried[n].block);
        l->changed = true;
    }
    if (n < l->tried_count)
        memmove(l->tried, l->tried + n, (l->tried_count - n) * sizeof *l->tried);
    l->tried_count -= n;
}

/* ---- checkpoints ---- */

/* One stream of a checkpoint's state. */
static void take_end(struct ledger *l, struct reader *r)
{
    struct position position;
    struct archived *block;
    struct hash hash;

    read_copy(r, position.stream.byte, ID_BYTES);
    position.number = read_varint(r);
    read_copy(r, hash.byte, HASH_BYTES);
    read_bytes(r, PUBLIC_KEY_BYTES);
    read_bytes(r, read_u8(r));
    read_bytes(
        r, ID_BYTES); /* Where the stream before it ended, and what its numbers are. */
    read_varint(r);
    read_bytes(r, HASH_BYTES + 1);
    block = archive_block(l->archive, &position, &hash);
    if (r->bad || block == NULL)
        broken("a checkpoint stands at a block that nobody wrote");
    if (block->nodes == 0)
        broken("a checkpoint stands at a block that was not durable anywhere");
    if (held_number(&l->held, block->stream) < block->number) {
        archive_durable(l->archive, block, l->node);
        held_set(&l->held, block);
        held_set(&l->unread, block);
        l->adopted = true;
    } else if (!held_has(l->archive, &l->held, block))
        broken("a checkpoint stands at another block than the log");
}

void ledger_made(struct ledger *l, const struct simfile *file)
{
    struct format_checkpoint checkpoint;
    const uint8_t *bytes;
    struct reader r;
    uint64_t count;
    size_t len;

    if (strstr(simfile_name(file), ".checkpoint") == NULL)
        return;
    bytes = simfile_made(file, &len);
    format_checkpoint(bytes, &checkpoint);
    r = reader_of(bytes + FORMAT_CHECKPOINT_HEADER, (size_t)checkpoint.state_len);
    read_bytes(&r, ID_BYTES);
    count = read_varint(&r);
    l->adopted = false;
    for (uint64_t i = 0; i < count; i++)
        take_end(l, &r);
    l->changed = true;
    ledger_applied(l);
}

/* ---- the process ---- */

void ledger_applied(struct ledger *l)
{
    if (l->changed)
        held_copy(&l->seen, &l->held);
    l->changed = false;
}

void ledger_ends(struct ledger *l)
{
    l->live = false;
}

static struct archived *end_of(const struct ledger *l, const struct stream *s)
{
    struct archived *block = archive_block(l->archive, &s->end.position, &s->end.hash);

    if (block == NULL)
        broken("a process holds block %" PRIu64 " of a stream, and nobody wrote it",
               s->end.position.number);
    if (s->frozen && !archive_stream(l->archive, block->stream)->forked)
        broken("a stream is frozen that does not fork");
    return block;
}

/* No stream is missing. */
static void check_streams(const struct ledger *l, const struct core *core)
{
    const struct streams *streams = core_streams(core);
    size_t count = 0;

    for (size_t i = 0; i < l->held.size; i++)
        count += l->held.end[i] != NULL;
    if (streams->count < count)
        broken("the disk has blocks of %zu streams, and the process of %zu", count,
               streams->count);
}

void ledger_recovered(struct ledger *l, const struct core *core)
{
    const struct streams *streams = core_streams(core);

    check_streams(l, core);
    for (const struct stream *s = streams->table; s != NULL; s = s->hh.next) {
        struct archived *block = end_of(l, s);
        const struct archived *before = held_end(&l->held, block->stream);

        if (before != NULL && before->number > block->number)
            broken("block %" PRIu64 " of a stream was durable, and the recovery ends at "
                   "%" PRIu64,
                   before->number, block->number);
        archive_durable(l->archive, block, l->node);
        held_set(&l->held, block);
    }
    l->tried_count = 0;
    l->live = l->changed = true;
    ledger_applied(l);
}

void ledger_check(const struct ledger *l, const struct core *core)
{
    const struct streams *streams = core_streams(core);

    check_streams(l, core);
    for (const struct stream *s = streams->table; s != NULL; s = s->hh.next) {
        const struct archived *block;

        if (s->end.position.number == 0)
            continue; /* Its first block is on its way into the log. */
        block = end_of(l, s);
        if (held_end(&l->held, block->stream) != block)
            broken("a process goes by block %" PRIu64
                   " of a stream, and its disk holds %" PRIu64,
                   block->number, held_number(&l->held, block->stream));
    }
}

#include "replica/core.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "replica/forks.h"
#include "replica/mutant.h"
#include "replica/requests.h"
#include "replica/streams.h"
#include "replica/waits.h"

/* Ops of one block, at most. */
/* Items that may have changed since the last digest: hashing them takes a few milliseconds. */
enum { DIGEST_BEHIND = 4096 };

enum { GATHER_MAX = BLOCK_MAX / (BLOCK_OP_MAX - TAG_MAX_BYTES) };

/* An op that waits for its block; those of one item are linked in their order. */
struct gathered {
    struct id id;
    int64_t value;
    uint32_t next; /* index + 1; 0: none */
    uint8_t kind, text_len;
    char text[TAG_MAX_BYTES];
};

struct group {
    struct item *item;
    uint8_t component;
    int64_t before;
    uint32_t first, last, count; /* ops, as indices */
};

struct core {
    struct core_config config;
    bool
        clustered; /* config.cluster is known from the log: not ours to choose any more */
    void *state[COMPONENT_COUNT];
    struct streams streams;
    struct requests *requests;
    uint64_t blocks, ops;

    /* The block that gathers. It is of group_mark: items with another mark are not in it. */
    uint64_t group_mark;
    struct group groups[GATHER_MAX];
    struct gathered gathered[GATHER_MAX];
    uint32_t group_count, gathered_count;
    size_t gathered_bytes; /* what the block takes at most */

    /* Blocks in the order of the log that are not known to be durable: those sealed here, and those
     * taken from peers. Each with a u32 length before it. */
    uint8_t *unwritten_blocks;
    size_t unwritten_len, unwritten_size;
    struct stream_end
        sealed_end;     /* of this run's stream; number 0: it has no block yet */
    uint32_t unwritten; /* counts: gathered and sealed */

    struct public_key *trusted;
    size_t trusted_count;
    bool open;  /* set by core_open() */
    bool joins; /* and what the disk says of that */
    bool
        adopting; /* requests come from the old core: those of blocks are not remembered */
    bool stream_lost;
    struct id stopped;              /* see core_adopt_stopped() */
    struct core_snapshot *snapshot; /* under way; NULL: none */

    struct waits unwritten_waits; /* for core_written() */

    unsigned copies, nodes; /* wanted; connected */
    uint64_t now_ms, copies_wait_ms, late;
    /* Answers that are durable here and wait for copies. New counts stand in the order of their blocks, so a look at
     * the first tells whether any can be given. Repeats may wait for any block; all are looked at where something
     * has changed for one of them. */
    struct waits fresh, again;
    bool again_changed;
    bool lags; /* copies came too late, and have not caught up since */
};

struct core *core_new(const struct core_config *config)
{
    struct core *core = calloc(1, sizeof *core);
    bool whole;

    if (core == NULL)
        return NULL;
    core->config = *config;
    core->copies = core->nodes = 1;
    core->group_mark = 1;
    core->requests = requests_new(config->requests);
    whole = core->requests != NULL;
    for (size_t i = 0; i < COMPONENT_COUNT; i++) {
        core->state[i] = components[i]->create(config->items_max);
        whole = whole && core->state[i] != NULL;
    }
    core->sealed_end.position.stream = config->stream;
    if (!whole) {
        core_free(core);
        return NULL;
    }
    return core;
}

void core_free(struct core *core)
{
    for (size_t i = 0; i < COMPONENT_COUNT; i++)
        if (core->state[i] != NULL)
            components[i]->destroy(core->state[i]);
    requests_free(core->requests);
    streams_clear(&core->streams);
    free(core->unwritten_blocks);
    free(core->trusted);
    waits_clear(&core->unwritten_waits);
    waits_clear(&core->fresh);
    waits_clear(&core->again);
    free(core);
}

static size_t component_index(uint8_t number)
{
    size_t i = 0;

    while (components[i]->number != number)
        i++;
    return i;
}

/* ---- applying: the one way into the state, for what was just written and for what is recovered ---- */

static bool own_key(const struct core *core, const struct public_key *key)
{
    return memcmp(key->byte, core->config.key.public.byte, sizeof key->byte) == 0;
}

/* The stream of a block; a first block brings it into being. One of this node's own that a peer gives back, because
 * this disk has lost it, is not counted among its own until the next start: what is remembered of requests
 * goes by the order in which own streams began, and this run's is the last. */
static enum err block_stream(struct core *core, const struct block *block, bool from_peer,
                             struct stream **stream)
{
    const struct block_origin *origin = &block->origin;

    *stream = streams_find(&core->streams, &block->stream);
    if (*stream != NULL)
        return ERR_OK;
    if (block->number != 1)
        return ERR_CORRUPT;
    if (core->clustered && !id_equal(&origin->cluster, &core->config.cluster))
        return ERR_REFUSED;
    *stream = streams_add(&core->streams, &block->stream, origin,
                          !from_peer && own_key(core, &origin->key));
    if (*stream == NULL)
        return ERR_MEMORY;
    core->config.cluster = origin->cluster;
    core->clustered = true;
    return ERR_OK;
}

/* Where a block stands that says of itself that it is block->number. */
static enum core_taken block_place(const struct stream_end *end,
                                   const struct block *block)
{
    if (block->number > end->position.number + 1)
        return MUTANT(take_gap) ? CORE_TAKEN : CORE_GAP;
    if (block->number == end->position.number + 1)
        return hash_equal(&block->previous, &end->hash) || MUTANT(skip_previous)
                   ? CORE_TAKEN
                   : CORE_FORKED;
    if (block->number == end->position.number && !hash_equal(&block->hash, &end->hash))
        return CORE_FORKED;
    if (MUTANT(take_again))
        return CORE_TAKEN;
    return CORE_HELD; /* Of an older one it cannot be told here whether it is the same. */
}

/* One content per stream: some node may hold the other block already, so taking either settles nothing. Both stay
 * in the log as proof, and no more is taken. */
static void freeze(struct core *core, struct stream *stream)
{
    stream->frozen = !MUTANT(no_freeze);
    if (id_equal(&stream->end.position.stream, &core->config.stream))
        core->stream_lost = true;
}

static void remember(struct core *core, const struct op *op, struct item *item,
                     struct own_place place)
{
    struct request request = {.id = op->id,
                              .item = item,
                              .value = op->value,
                              .number = op->before + op->value,
                              .place = place};

    requests_add(core->requests, &request);
}

/* What a peer gave back of a stream that this disk has lost is before everything that this node knows of itself: its
 * ids are known, but tell nothing of how far back the memory reaches. */
static struct own_place block_own_place(const struct stream *stream,
                                        const struct block *block)
{
    return stream->own > 0 ? (struct own_place){stream->own, block->number}
                           : (struct own_place){0};
}

/* here: the block was gathered by this core, which reserved its ops and remembers their ids. */
static enum err apply_ops(struct core *core, const struct stream *stream,
                          const struct block *block, bool here)
{
    struct block_cursor cursor = block_ops(block);
    struct item *item;
    struct op op;

    while (block_next_op(&cursor, &op)) {
        size_t i = component_index(op.component);

        item = components[i]->apply(core->state[i], &op, here);
        if (item == NULL)
            return ERR_MEMORY;
        if (op.kind != OP_ADD)
            continue;
        if (own_key(core, &stream->key) && !here && !core->adopting &&
            (stream->own > 0 || !MUTANT(forget_lost)))
            remember(core, &op, item, block_own_place(stream, block));
        core->ops++;
    }
    return ERR_OK;
}

/* So that whoever asks for the digest keeps nobody waiting. */
static void prepare_digest(struct core *core)
{
    for (size_t i = 0; i < COMPONENT_COUNT; i++)
        components[i]->prepare_digest(core->state[i], core->config.crypto->hash,
                                      DIGEST_BEHIND);
}

static enum err apply_block(struct core *core, const struct block *block, bool here)
{
    struct stream *stream;
    enum err err = block_stream(core, block, false, &stream);

    if (err == ERR_OK && block_place(&stream->end, block) != CORE_TAKEN)
        err = ERR_CORRUPT; /* Such a block is never appended. */
    if (err == ERR_OK)
        err = apply_ops(core, stream, block, here);
    if (err != ERR_OK)
        return err;
    stream->end.position.number = block->number;
    stream->end.hash = block->hash;
    stream->doubted = false; /* What others hold of it goes on from what is held here. */
    if (stream->taken.position.number < block->number)
        stream->taken = stream->end;
    core->open = core->open || here;
    prepare_digest(core);
    if (MUTANT(resume_stream) && stream->own > 0 && !here) {
        core->config.stream = block->stream;
        core->sealed_end = stream->end;
    }
    core->blocks++;
    return ERR_OK;
}

/* Another stream's proof may have taken the room: then the log has this one, and the mark stays. */
static enum err keep_proof(struct core *core, struct stream *stream, const uint8_t *bytes,
                           size_t len)
{
    struct fork_proof proof = {0};
    enum err err = ERR_OK;

    if (core->streams.proof_bytes + sizeof(uint32_t) + len > CORE_PROOF_BYTES)
        return ERR_OK;
    err = fork_copy(&proof, &stream->proof);
    if (err == ERR_OK)
        err = fork_add(&proof, core->config.crypto, bytes, len);
    if (err != ERR_OK) {
        fork_clear(&proof);
        return err;
    }
    streams_set_proof(&core->streams, stream, &proof);
    return ERR_OK;
}

static enum err apply_proof(struct core *core, const struct block *block,
                            const uint8_t *bytes, size_t len)
{
    struct stream *stream = streams_find(&core->streams, &block->stream);

    if (stream == NULL)
        return ERR_CORRUPT;
    freeze(core, stream);
    return keep_proof(core, stream, bytes, len);
}

static enum err apply_doubt(struct core *core, const uint8_t *bytes, size_t len)
{
    struct stream *stream;
    struct id id;

    if (len != BLOCK_DOUBT_BYTES)
        return ERR_MALFORMED;
    memcpy(id.byte, bytes + 1, sizeof id.byte);
    stream = streams_find(&core->streams, &id);
    if (stream == NULL)
        return ERR_CORRUPT;
    stream->doubted = true;
    return ERR_OK;
}

static enum err apply_joins(struct core *core, const uint8_t *bytes, size_t len)
{
    if (len != BLOCK_JOINS_BYTES || bytes[1] > 1)
        return ERR_MALFORMED;
    core->joins = bytes[1] == 1;
    return ERR_OK;
}

/* Blocks of this run's stream are made here alone; one that came from elsewhere has ended it. */
static bool is_sealed_here(const struct core *core, const struct block *block)
{
    return id_equal(&block->stream, &core->config.stream) &&
           block->number <= core->sealed_end.position.number;
}

static enum err apply_record(struct core *core, const uint8_t *bytes, size_t len)
{
    bool proof = len > 0 && bytes[0] == BLOCK_PROOF;
    struct block block;
    enum err err;

    if (len > 0 && bytes[0] == BLOCK_ADOPTED)
        return len == BLOCK_ADOPTED_BYTES ? ERR_OK : ERR_MALFORMED;
    if (len > 0 && bytes[0] == BLOCK_DOUBT)
        return apply_doubt(core, bytes, len);
    if (len > 0 && bytes[0] == BLOCK_JOINS)
        return apply_joins(core, bytes, len);
    err = block_decode(bytes + proof, len - proof, core->config.crypto, &block);
    if (err != ERR_OK)
        return err;
    return proof ? apply_proof(core, &block, bytes + 1, len - 1)
                 : apply_block(core, &block, is_sealed_here(core, &block));
}

enum err core_replay(struct core *core, const uint8_t *bytes, size_t len)
{
    return apply_record(core, bytes, len);
}

/* ---- requests ---- */

/* As long as this node has never had a peer, its order is the only one there is. Streams say so, so that it is known
 * when the peers are taken out of the configuration again. */
enum status core_status(const struct core *core)
{
    return core->trusted_count == 0 && !core->streams.provisional ? STATUS_FINAL
                                                                  : STATUS_PROVISIONAL;
}

void core_open(struct core *core)
{
    core->open = true;
}

bool core_is_open(const struct core *core)
{
    return core->open || core->trusted_count == 0 || MUTANT(count_early);
}

bool core_joins(const struct core *core)
{
    return core->joins;
}

void core_found(struct core *core, const struct id *cluster)
{
    if (!core->clustered)
        core->config.cluster = *cluster;
}

/* Can it be told that a request which was first asked after `heard`, and whose id is not remembered, was never
 * counted? Not where the memory does not reach back so far, nor where this log does not hold
 * that position: then it was wiped or restored, and may have forgotten the count. */
static bool memory_reaches(const struct core *core, const struct position *heard)
{
    struct own_place place = {0};

    if (MUTANT(ignore_heard))
        return true;
    if (!id_is_zero(&heard->stream)) {
        const struct stream *stream = streams_find(&core->streams, &heard->stream);

        if (stream == NULL || stream->own == 0 ||
            heard->number > stream->end.position.number)
            return false;
        place = (struct own_place){stream->own, heard->number};
    }
    return !own_place_before(place, requests_reach(core->requests));
}

static bool is_same(const struct request *known, const struct msg_count_req *req)
{
    return known->value == req->amount && known->item->key_len == req->name_len &&
           memcmp(known->item->key, req->name, req->name_len) == 0;
}

/* The place that the block which gathers will have in this node's own history. */
static struct own_place gathering_place(const struct core *core)
{
    const struct stream *own = streams_find(&core->streams, &core->config.stream);

    return (struct own_place){own != NULL ? own->own : core->streams.own_count + 1,
                              core->sealed_end.position.number + 1};
}

/* The place up to which everything is durable. */
static struct own_place written_place(const struct core *core)
{
    const struct stream *own = streams_last_own(&core->streams);

    return own == NULL ? (struct own_place){0}
                       : (struct own_place){own->own, own->end.position.number};
}

/* Do enough nodes hold a block of this node's own, which is durable here? */
static bool is_copied(const struct core *core, struct own_place place)
{
    return core->copies <= 1 || MUTANT(skip_copies) ||
           (place.stream > 0 &&
            place.number <= core->streams.own[place.stream - 1]->copied);
}

/* What is durable here waits for copies. False without memory, or where too many wait. */
static bool add_wait(struct core *core, struct wait *wait)
{
    wait->due_ms = core->now_ms + core->copies_wait_ms;
    if (!wait->again)
        return waits_add(&core->fresh, wait);
    if (core->again.count >= CORE_UNWRITTEN_MAX || !waits_add(&core->again, wait))
        return false;
    if (wait->place.stream > 0)
        core->streams.own[wait->place.stream - 1]->again++;
    return true;
}

static enum core_verdict refuse(struct msg_count_rep *rep, enum status status)
{
    rep->status = status;
    return CORE_ANSWERED;
}

/* What a number is that was said there. */
static enum status place_status(const struct core *core, struct own_place place)
{
    if (place.stream == 0 || place.stream > core->streams.own_count)
        return core_status(core);
    return core->streams.own[place.stream - 1]->provisional ? STATUS_PROVISIONAL
                                                            : STATUS_FINAL;
}

static enum core_verdict repeat(struct core *core, const struct request *known,
                                const struct msg_count_req *req, uint64_t ticket,
                                struct msg_count_rep *rep)
{
    struct wait wait = {.ticket = ticket,
                        .item = known->item,
                        .id = req->id,
                        .number = known->number,
                        .place = known->place,
                        .again = true};

    if (!is_same(known, req))
        return refuse(rep, STATUS_ERROR);
    if (own_place_before(written_place(core), known->place) && !MUTANT(answer_unsynced))
        return waits_add(&core->unwritten_waits, &wait)
                   ? CORE_WAITS
                   : refuse(rep, STATUS_UNKNOWN); /* It may yet be counted. */
    if (!is_copied(core, known->place))
        return add_wait(core, &wait) ? CORE_WAITS : refuse(rep, STATUS_UNKNOWN);
    rep->number = known->number;
    rep->total = known->item->total;
    return refuse(rep, place_status(core, known->place));
}

static void gather(struct core *core, uint8_t component, const struct op *op,
                   struct item *item)
{
    struct gathered *new = &core->gathered[core->gathered_count];
    uint32_t index = core->gathered_count++;
    struct group *group;

    if (item->mark != core->group_mark) {
        item->mark = core->group_mark;
        item->group = core->group_count++;
        core->groups[item->group] = (struct group){.item = item,
                                                   .component = component,
                                                   .before = op->before,
                                                   .first = index,
                                                   .last = index};
        core->gathered_bytes += BLOCK_GROUP_MAX;
    }
    group = &core->groups[item->group];
    if (group->count > 0)
        core->gathered[group->last].next = index + 1;
    group->last = index;
    group->count++;
    new->id = op->id;
    new->value = op->value;
    new->kind = op->kind;
    new->next = 0;
    new->text_len = op->text_len;
    memcpy(new->text, op->text, op->text_len);
    core->gathered_bytes += BLOCK_OP_MAX - TAG_MAX_BYTES + op->text_len;
}

enum core_verdict core_count(struct core *core, const struct msg_count_req *req,
                             uint64_t ticket, size_t room, struct msg_count_rep *rep)
{
    const size_t c = component_index(counter_component.number);
    const struct request *known = requests_find(core->requests, &req->id);
    struct op op = {.component = counter_component.number,
                    .kind = OP_ADD,
                    .key = req->name,
                    .key_len = req->name_len,
                    .text = req->tag,
                    .text_len = req->tag_len,
                    .id = req->id,
                    .value = req->amount};
    size_t bytes =
        BLOCK_FIXED_MAX + core->gathered_bytes + BLOCK_GROUP_MAX + BLOCK_OP_MAX;
    struct wait wait = {.ticket = ticket, .id = req->id, .place = gathering_place(core)};
    struct item *item;
    enum status status;

    *rep = (struct msg_count_rep){.id = req->id};
    if (known != NULL && MUTANT(count_again) &&
        own_place_before(written_place(core), known->place))
        known = NULL;
    if (known != NULL)
        return repeat(core, known, req, ticket, rep);
    if (!core_is_open(core))
        return refuse(rep, STATUS_UNAVAILABLE);
    if (!memory_reaches(core, &req->heard))
        return refuse(rep, STATUS_UNKNOWN);
    if (!core_copies_to_be_had(core))
        return refuse(rep, STATUS_UNAVAILABLE);
    if (bytes > (room < BLOCK_MAX ? room : BLOCK_MAX) ||
        core->unwritten + core->fresh.count >= CORE_UNWRITTEN_MAX)
        return core->unwritten > 0 ? CORE_SEAL_FIRST : refuse(rep, STATUS_UNAVAILABLE);
    if (!waits_add(&core->unwritten_waits, &wait))
        return refuse(rep, STATUS_UNAVAILABLE);
    status = counter_component.admit(core->state[c], &op, &item);
    if (status != STATUS_FINAL) {
        waits_drop_last(&core->unwritten_waits);
        return refuse(rep, status);
    }
    op.before = item->total + (MUTANT(number_of_durable) ? 0 : item->reserved - op.value);
    remember(core, &op, item, wait.place);
    gather(core, counter_component.number, &op, item);
    waits_last(&core->unwritten_waits)->item = item;
    waits_last(&core->unwritten_waits)->number = op.before + op.value;
    core->unwritten++;
    return CORE_WAITS;
}

enum core_verdict core_retire(struct core *core, const struct core_retirement *wanted,
                              size_t room, enum status *status)
{
    const size_t c = component_index(counter_component.number);
    const struct item *item =
        counter_component.find(core->state[c], wanted->name, wanted->name_len);
    struct op op = {.component = counter_component.number,
                    .kind = wanted->show ? OP_SHOW : OP_RETIRE,
                    .key = wanted->name,
                    .key_len = wanted->name_len,
                    .text = wanted->reason,
                    .text_len = wanted->reason_len,
                    .id = wanted->id};
    struct item *admitted;

    assert(core->gathered_count == 0);
    *status = core_is_open(core) ? STATUS_ERROR : STATUS_UNAVAILABLE;
    if (!core_is_open(core) || item == NULL)
        return CORE_ANSWERED;
    *status = core_status(core);
    if (item_hidden(item) != wanted->show)
        return CORE_ANSWERED; /* It is so already. */
    *status = STATUS_UNAVAILABLE;
    if (room < BLOCK_FIXED_MAX + BLOCK_GROUP_MAX + BLOCK_OP_MAX)
        return CORE_ANSWERED;
    op.value = (int64_t)item->retirement.generation + 1;
    *status = counter_component.admit(core->state[c], &op, &admitted);
    if (*status != STATUS_FINAL)
        return CORE_ANSWERED;
    op.before = item->total + item->reserved;
    gather(core, counter_component.number, &op, admitted);
    *status = core_status(core);
    return CORE_WAITS;
}

void core_get(const struct core *core, const struct msg_get_req *req,
              struct msg_get_rep *rep)
{
    const size_t c = component_index(counter_component.number);
    const struct item *item;

    *rep = (struct msg_get_rep){.id = req->id, .status = STATUS_ERROR};
    if (!name_valid(req->name, req->name_len))
        return;
    rep->status = STATUS_UNAVAILABLE;
    if (!core_is_open(core))
        return;
    item = counter_component.find(core->state[c], req->name, req->name_len);
    rep->total = item != NULL ? item->total : 0;
    rep->status = core_status(core);
}

static bool unwritten_reserve(struct core *core, size_t bytes)
{
    size_t need = core->unwritten_len + bytes;
    uint8_t *blocks;

    if (need <= core->unwritten_size)
        return true;
    blocks = realloc(core->unwritten_blocks, need);
    if (blocks == NULL)
        return false;
    core->unwritten_blocks = blocks;
    core->unwritten_size = need;
    return true;
}

/* ---- blocks from peers ---- */

enum err core_trust(struct core *core, const struct public_key *keys, size_t count)
{
    struct public_key *trusted = NULL;

    if (count > 0 && (trusted = malloc(count * sizeof *trusted)) == NULL)
        return ERR_MEMORY;
    if (count > 0)
        memcpy(trusted, keys, count * sizeof *trusted);
    free(core->trusted);
    core->trusted = trusted;
    core->trusted_count = count;
    return ERR_OK;
}

bool core_trusts(const struct core *core, const struct public_key *key)
{
    for (size_t i = 0; i < core->trusted_count; i++)
        if (memcmp(core->trusted[i].byte, key->byte, sizeof key->byte) == 0)
            return true;
    return own_key(core, key);
}

/* May the block's signature be looked at, and with whose key? */
static enum core_taken receive_key(const struct core *core, const struct stream *stream,
                                   const struct block *block,
                                   const struct public_key **key)
{
    if (stream != NULL) {
        *key = &stream->key;
        return stream->frozen ? CORE_FROZEN : CORE_TAKEN;
    }
    if (block->number != 1)
        return CORE_GAP;
    if (id_equal(&block->stream, &core->config.stream) &&
        core->sealed_end.position.number > 0)
        return CORE_GAP; /* Our own first block is on its way into the log: look at this one then. */
    *key = &block->origin.key;
    if (core->clustered && !id_equal(&block->origin.cluster, &core->config.cluster))
        return CORE_REFUSED;
    return core_trusts(core, *key) && core_open_streams(core, *key) < CORE_OPEN_STREAMS
               ? CORE_TAKEN
               : CORE_REFUSED;
}

/* Put a record behind what waits to be written. False without memory. */
static bool add_record(struct core *core, bool proof, const uint8_t *bytes, size_t len,
                       struct core_record *record)
{
    size_t size = sizeof(uint32_t) + proof + len;
    struct writer w;

    if (!unwritten_reserve(core, size))
        return false;
    w = writer_of(core->unwritten_blocks + core->unwritten_len, size);
    write_u32(&w, (uint32_t)(proof + len));
    *record = (struct core_record){w.start + w.len, proof + len};
    if (proof)
        write_u8(&w, BLOCK_PROOF);
    write_bytes(&w, bytes, len);
    core->unwritten_len += w.len;
    return true;
}

static enum core_taken take(struct core *core, struct stream *stream,
                            const struct block *block)
{
    enum core_taken taken = block_place(&stream->taken, block);

    if (taken == CORE_FORKED)
        freeze(core, stream);
    if (taken != CORE_TAKEN)
        return taken;
    stream->taken.position.number = block->number;
    stream->taken.hash = block->hash;
    if (id_equal(&block->stream, &core->config.stream))
        core->stream_lost =
            true; /* Only this run writes it, and this block is not its own. */
    return CORE_TAKEN;
}

/* As many as follow one another from the first on. *last: of them. */
static unsigned chained(const struct crypto *crypto, const struct core_record *blocks,
                        unsigned count, struct block *last)
{
    struct block next;
    unsigned n = 1;

    while (n < count &&
           block_decode(blocks[n].bytes, blocks[n].len, crypto, &next) == ERR_OK &&
           (block_covered(last, &next) || MUTANT(cover_all))) {
        *last = next;
        n++;
    }
    return n;
}

unsigned core_covered(const struct core *core, const struct core_record *blocks,
                      unsigned count)
{
    const struct crypto *crypto = core->config.crypto;
    const struct public_key *key;
    struct block first, last;
    unsigned n;

    if (count < 2 ||
        block_decode(blocks[0].bytes, blocks[0].len, crypto, &first) != ERR_OK ||
        receive_key(core, streams_find(&core->streams, &first.stream), &first, &key) !=
            CORE_TAKEN)
        return 0;
    last = first;
    n = chained(crypto, blocks, count, &last);
    return n > 1 && block_signed(&last, crypto, key) ? n : 0;
}

enum core_taken core_receive(struct core *core, const uint8_t *bytes, size_t len,
                             bool covered, struct core_record *record)
{
    const struct public_key *key;
    struct stream *stream;
    struct block block;
    enum core_taken taken;
    enum err err = block_decode(bytes, len, core->config.crypto, &block);

    if (err != ERR_OK)
        return err == ERR_VERSION ? CORE_NEWER : CORE_REFUSED;
    stream = streams_find(&core->streams, &block.stream);
    taken = receive_key(core, stream, &block, &key);
    if (taken != CORE_TAKEN)
        return taken;
    if (stream != NULL) {
        taken = block_place(&stream->taken, &block);
        if (taken == CORE_HELD || taken == CORE_GAP)
            return taken; /* Not worth a look at its signature. */
    }
    /* As proof a block has to stand for itself. */
    if ((!covered || taken == CORE_FORKED) &&
        !block_signed(&block, core->config.crypto, key) && !MUTANT(skip_signature))
        return CORE_REFUSED;
    if (block_stream(core, &block, true, &stream) != ERR_OK)
        return CORE_FAILED;
    taken = take(core, stream, &block);
    if ((taken == CORE_TAKEN || taken == CORE_FORKED) &&
        !add_record(core, taken == CORE_FORKED, bytes, len, record))
        return CORE_FAILED;
    return taken;
}

/* Does more of the stream come in? What continues what is held is better had before the stream is frozen. A proof is
 * said again, so the second time that nothing has come since tells. */
static bool still_grows(struct stream *stream)
{
    uint64_t before = stream->told;

    stream->told = stream->taken.position.number;
    return before != stream->told;
}

/* The stream that a proof is of, if it says anything new. */
static enum core_taken proof_stream(const struct core *core, const struct block *block,
                                    struct stream **stream)
{
    *stream = streams_find(&core->streams, &block->stream);
    if (*stream == NULL || (*stream)->end.position.number == 0)
        return CORE_GAP;
    if ((*stream)->frozen &&
        ((*stream)->proof.blocks == 2 ||
         core->streams.proof_bytes + FORK_PROOF_MAX > CORE_PROOF_BYTES))
        return CORE_FROZEN;
    return CORE_TAKEN;
}

enum core_taken core_take_proof(struct core *core, const uint8_t *bytes, size_t len,
                                struct core_record record[2])
{
    const struct crypto *crypto = core->config.crypto;
    struct fork_half half[2];
    struct stream *stream;
    enum core_taken taken;
    unsigned count;
    enum err err = fork_read(bytes, len, crypto, half, &count);

    if (err != ERR_OK || count != 2)
        return err == ERR_VERSION ? CORE_NEWER : CORE_REFUSED;
    taken = proof_stream(core, &half[0].block, &stream);
    if (taken != CORE_TAKEN)
        return taken;
    for (unsigned i = 0; i < 2; i++)
        if (!block_signed(&half[i].block, crypto, &stream->key))
            return CORE_REFUSED;
    if (!stream->frozen && still_grows(stream))
        return CORE_GAP;
    if (!unwritten_reserve(core, 2 * (sizeof(uint32_t) + 1) + len))
        return CORE_FAILED; /* Else the second would move the first. */
    for (unsigned i = 0; i < 2; i++)
        if (!add_record(core, true, half[i].bytes, half[i].len, &record[i]))
            return CORE_FAILED;
    freeze(core, stream);
    return CORE_FORKED;
}

bool core_lacks_proof(const struct core *core)
{
    for (const struct stream *s = core->streams.table; s != NULL; s = s->hh.next)
        if (s->frozen && s->proof.blocks == 1)
            return true;
    return false;
}

enum err core_find_proof(struct core *core, const uint8_t *bytes, size_t len)
{
    struct fork_half held[2];
    struct position position;
    struct stream *stream;
    struct block block;
    unsigned count;

    if (!block_peek(bytes, len, &position))
        return ERR_OK;
    stream = streams_find(&core->streams, &position.stream);
    if (stream == NULL || !stream->frozen || stream->proof.blocks != 1 ||
        fork_read(stream->proof.bytes, stream->proof.len, core->config.crypto, held,
                  &count) != ERR_OK ||
        block_decode(bytes, len, core->config.crypto, &block) != ERR_OK ||
        !fork_contradicts(&held[0].block, &block))
        return ERR_OK;
    return keep_proof(core, stream, bytes, len);
}

bool core_stream_lost(const struct core *core)
{
    return core->stream_lost;
}

bool core_stream_outdated(const struct core *core)
{
    const struct stream *own = streams_find(&core->streams, &core->config.stream);

    return own != NULL && !own->provisional && core_status(core) == STATUS_PROVISIONAL;
}

void core_new_stream(struct core *core, const struct id *stream)
{
    assert(core->gathered_count == 0 && core->unwritten_len == 0);
    core->config.stream = *stream;
    core->sealed_end = (struct stream_end){.position.stream = *stream};
    core->stream_lost = false;
}

static void put_have(struct writer *w, const struct stream_end *end)
{
    if (w->size - w->len < CORE_HAVE_ITEM) {
        w->full = true;
        return;
    }
    write_bytes(w, end->position.stream.byte, ID_BYTES);
    write_u64(w, end->position.number);
    write_bytes(w, end->hash.byte, HASH_BYTES);
}

size_t core_have(const struct core *core, core_knows_fn *knows, const void *arg,
                 uint8_t *out, size_t size, bool *more)
{
    struct writer w = writer_of(out, size);

    for (const struct stream *s = core->streams.table; s != NULL; s = s->hh.next) {
        const struct id *before = &s->before.position.stream;

        if (s->end.position.number == 0)
            continue; /* Its first block is not durable yet. */
        if (!id_is_zero(before) && core_held(core, before) == 0)
            put_have(&w, &(const struct stream_end){.position.stream = *before});
        if (!stream_is_named(s) || !knows(arg, &s->after->end.position.stream))
            put_have(&w, &s->end);
    }
    *more = w.full;
    return w.len;
}

const struct stream_end *core_before(const struct core *core, const struct id *stream)
{
    const struct stream *s = streams_find(&core->streams, stream);

    return s != NULL && !id_is_zero(&s->before.position.stream) ? &s->before : NULL;
}

void core_digest(struct core *core, struct hash *digest)
{
    struct hash parts[COMPONENT_COUNT];

    for (size_t i = 0; i < COMPONENT_COUNT; i++)
        components[i]->digest(core->state[i], core->config.crypto->hash, &parts[i]);
    core->config.crypto->hash(digest, parts, sizeof parts);
}

bool core_heard(struct core *core, const struct stream_end *theirs)
{
    struct stream *stream = streams_find(&core->streams, &theirs->position.stream);

    if (stream == NULL || theirs->position.number == 0 ||
        theirs->position.number != stream->end.position.number)
        return false;
    if (!hash_equal(&theirs->hash, &stream->end.hash))
        return true;
    stream->known = theirs->position.number;
    return false;
}

bool core_is_frozen(const struct core *core, const struct id *stream)
{
    const struct stream *held = streams_find(&core->streams, stream);

    return held != NULL && held->frozen;
}

size_t core_frozen(const struct core *core, uint8_t *out, size_t size, bool *more)
{
    struct writer w = writer_of(out, size);

    for (const struct stream *s = core->streams.table; s != NULL; s = s->hh.next)
        if (s->frozen)
            write_bytes(&w, s->end.position.stream.byte, ID_BYTES);
    *more = w.full;
    return w.len;
}

/* The proof is on the way, or contradicts a block that was followed by others since, or no log has it any more. To believe it
 * costs a stream. */
void core_heard_lost(struct core *core, const struct id *stream, bool other)
{
    struct stream *own = streams_find(&core->streams, stream);

    if (own == NULL || own->end.position.number == 0 ||
        !id_equal(stream, &core->config.stream))
        return;
    core->stream_lost = true;
    if (other || own->known < own->end.position.number)
        own->doubted = true;
}

bool core_stream_doubted(const struct core *core)
{
    const struct stream *own = streams_find(&core->streams, &core->config.stream);

    return own != NULL && own->doubted;
}

size_t core_open_streams(const struct core *core, const struct public_key *key)
{
    size_t count = 0;

    for (const struct stream *s = core->streams.table; s != NULL; s = s->hh.next)
        count +=
            memcmp(s->key.byte, key->byte, sizeof key->byte) == 0 && !stream_is_named(s);
    return count;
}

bool core_bears_own_key(const struct core *core, const struct id *stream)
{
    const struct stream *held = streams_find(&core->streams, stream);

    return held != NULL && own_key(core, &held->key);
}

uint64_t core_lacks(const struct core *core,
                    uint64_t (*have)(const void *arg, const struct id *stream),
                    const void *arg)
{
    uint64_t lacks = 0;

    for (const struct stream *s = core->streams.table; s != NULL; s = s->hh.next) {
        uint64_t held = have(arg, &s->end.position.stream);

        lacks += s->end.position.number > held ? s->end.position.number - held : 0;
    }
    return lacks;
}

uint64_t core_held(const struct core *core, const struct id *stream)
{
    const struct stream *held = streams_find(&core->streams, stream);

    return held != NULL ? held->end.position.number : 0;
}

/* ---- commit ---- */

size_t core_gathered_bytes(const struct core *core)
{
    return core->gathered_count > 0 ? BLOCK_FIXED_MAX + core->gathered_bytes : 0;
}

bool core_gathered(const struct core *core)
{
    return core->gathered_count > 0;
}

bool core_unwritten(const struct core *core)
{
    return core->unwritten_len > 0;
}

static void put_groups(const struct core *core, struct writer *w)
{
    for (uint32_t g = 0; g < core->group_count; g++) {
        const struct group *group = &core->groups[g];

        block_put_group(w, group->component, group->item->key, group->item->key_len,
                        group->before, group->count);
        for (uint32_t i = group->first + 1; i != 0; i = core->gathered[i - 1].next) {
            const struct gathered *op = &core->gathered[i - 1];

            block_put_op(w, op->kind, &op->id, op->value, op->text, op->text_len);
        }
    }
}

/* What the first block of this run's stream says. */
static void set_origin(const struct core *core, struct block_origin *origin)
{
    const struct stream *last = streams_last_own(&core->streams);

    origin->cluster = core->config.cluster;
    origin->key = core->config.key.public;
    origin->name_len = (uint8_t)strlen(core->config.node_name);
    memcpy(origin->name, core->config.node_name, origin->name_len);
    if (last != NULL)
        origin->before = last->end;
    origin->provisional = core_status(core) == STATUS_PROVISIONAL;
}

enum err core_seal(struct core *core, uint64_t wall_ms, const uint8_t **bytes,
                   size_t *len)
{
    struct block head = {.stream = core->config.stream,
                         .number = core->sealed_end.position.number + 1,
                         .previous = core->sealed_end.hash,
                         .stamp_ms = wall_ms,
                         .groups = core->group_count};
    size_t max = sizeof(uint32_t) + BLOCK_FIXED_MAX + core->gathered_bytes;
    struct stream *stream;
    struct writer w, length;

    assert(core->gathered_count > 0);
    if (!unwritten_reserve(core, max))
        return ERR_MEMORY;
    if (head.number == 1)
        set_origin(core, &head.origin);
    length = writer_of(core->unwritten_blocks + core->unwritten_len, sizeof(uint32_t));
    w = writer_of(core->unwritten_blocks + core->unwritten_len + sizeof(uint32_t),
                  max - sizeof(uint32_t));
    block_put_head(&w, &head);
    put_groups(core, &w);
    block_seal(&w, core->config.crypto, &core->config.key, &core->sealed_end.hash);
    assert(!w.full && w.len <= BLOCK_MAX);
    write_u32(&length, (uint32_t)w.len);
    core->unwritten_len += sizeof(uint32_t) + w.len;
    core->sealed_end.position.number = head.number;
    stream = streams_find(&core->streams, &head.stream);
    if (stream != NULL)
        stream->taken = core->sealed_end;
    core->group_count = core->gathered_count = 0;
    core->gathered_bytes = 0;
    core->group_mark++;
    *bytes = w.start;
    *len = w.len;
    return ERR_OK;
}

static void give(const struct core *core, const struct wait *wait, bool known,
                 core_reply_fn *reply, void *arg)
{
    struct msg_count_rep rep = {.id = wait->id, .status = STATUS_UNKNOWN};

    if (known) {
        rep.number = wait->number;
        rep.total = wait->item->total;
        rep.status = place_status(core, wait->place);
    }
    reply(arg, wait->ticket, &rep);
}

/* Its block is durable here. */
static void give_or_wait(struct core *core, struct wait *wait, core_reply_fn *reply,
                         void *arg)
{
    bool copied = is_copied(core, wait->place);

    if (copied || !add_wait(core, wait))
        give(core, wait, copied, reply, arg);
}

enum err core_written(struct core *core, core_reply_fn *reply, void *arg)
{
    struct reader r = reader_of(core->unwritten_blocks, core->unwritten_len);
    enum err err;

    assert(core->gathered_count == 0); /* Its counts would be answered with the others. */
    while (r.left > 0) {
        uint32_t len = read_u32(&r);
        const uint8_t *bytes = read_bytes(&r, len);

        err = apply_record(core, bytes, len);
        assert(err == ERR_OK ||
               err == ERR_MEMORY); /* It was looked at before it was appended. */
        if (err != ERR_OK)
            return err;
    }
    core->unwritten_len = 0;
    core->unwritten = 0;
    for (; core->unwritten_waits.count > 0; waits_drop_first(&core->unwritten_waits))
        give_or_wait(core, waits_first(&core->unwritten_waits), reply, arg);
    return ERR_OK;
}

/* ---- copies on other nodes ---- */

void core_set_copies(struct core *core, unsigned copies, uint64_t wait_ms)
{
    core->copies = copies;
    core->copies_wait_ms = wait_ms;
    core->again_changed = true;
}

unsigned core_copies(const struct core *core)
{
    return core->copies;
}

void core_set_nodes(struct core *core, unsigned nodes)
{
    core->nodes = nodes;
}

void core_copied(struct core *core, const struct id *stream, uint64_t number)
{
    struct stream *own = streams_find(&core->streams, stream);

    if (own == NULL)
        return;
    if (own->again > 0 && number != own->copied)
        core->again_changed = true;
    own->copied = number;
}

void core_time(struct core *core, uint64_t now_ms)
{
    core->now_ms = now_ms;
}

/* Do enough nodes hold all that this run has written? */
static bool copies_caught_up(const struct core *core)
{
    const struct stream *own = streams_find(&core->streams, &core->config.stream);

    return core->copies <= 1 || own == NULL || own->copied >= own->end.position.number;
}

bool core_copies_to_be_had(const struct core *core)
{
    return core->copies <= 1 || (core->nodes >= core->copies && !core->lags);
}

struct answering {
    struct core *core;
    core_reply_fn *reply;
    void *arg;
};

/* Whether it has to wait on. */
static bool waits_on(void *arg, const struct wait *wait)
{
    const struct answering *a = arg;
    bool copied = is_copied(a->core, wait->place);

    if (!copied && a->core->now_ms < wait->due_ms)
        return true;
    if (!copied)
        a->core->late++;
    if (wait->again && wait->place.stream > 0)
        a->core->streams.own[wait->place.stream - 1]->again--;
    give(a->core, wait, copied, a->reply, a->arg);
    return false;
}

void core_answer(struct core *core, core_reply_fn *reply, void *arg)
{
    struct answering answering = {core, reply, arg};
    const struct wait *first;
    uint64_t late = core->late;

    for (; core->fresh.count > 0; waits_drop_first(&core->fresh))
        if (waits_on(&answering, waits_first(&core->fresh)))
            break;
    core->lags = (core->lags || core->late > late) &&
                 (!copies_caught_up(core) || MUTANT(lag_for_ever));
    first = waits_first(&core->again);
    if (first != NULL && (core->again_changed || core->now_ms >= first->due_ms))
        waits_filter(&core->again, waits_on, &answering);
    core->again_changed = false;
}

uint64_t core_due(const struct core *core)
{
    const struct wait *fresh = waits_first(&core->fresh),
                      *again = waits_first(&core->again);
    uint64_t due = fresh != NULL ? fresh->due_ms : UINT64_MAX;

    return again != NULL && again->due_ms < due ? again->due_ms : due;
}

struct position core_position(const struct core *core)
{
    const struct stream *own = streams_last_own(&core->streams);

    return own != NULL ? own->end.position : (struct position){0};
}

/* ---- checkpoints ---- */

size_t core_encoded_max(const struct core *core)
{
    size_t bytes = 64 + streams_encoded_max(&core->streams);

    for (size_t i = 0; i < COMPONENT_COUNT; i++)
        bytes += 32 + components[i]->encoded_max(core->state[i]);
    return bytes + 65 + requests_count(core->requests) * (ID_BYTES + 1 + 5 * 10);
}

void core_encode_state(struct core *core, struct writer *w)
{
    assert(core->gathered_count == 0 && core->unwritten_len == 0);
    write_bytes(w, core->config.cluster.byte, ID_BYTES);
    streams_encode(&core->streams, w);
    write_u8(w, COMPONENT_COUNT);
    for (size_t i = 0; i < COMPONENT_COUNT; i++) {
        write_u8(w, components[i]->number);
        write_varint(w, components[i]->version);
        components[i]->encode(core->state[i], w);
    }
}

enum err core_decode_state(struct core *core, struct reader *r)
{
    enum err err;
    uint8_t count, last = 0;

    read_copy(r, core->config.cluster.byte, ID_BYTES);
    core->clustered = true;
    err = streams_decode(&core->streams, r);
    count = read_u8(r);
    for (uint8_t i = 0; i < count && err == ERR_OK; i++) {
        uint8_t number = read_u8(r);
        uint64_t version = read_varint(r);

        if (r->bad || number <= last)
            return ERR_MALFORMED;
        if (component_by_number(number) == NULL || version > UINT32_MAX)
            return ERR_VERSION;
        last = number;
        err = component_by_number(number)->decode(core->state[component_index(number)], r,
                                                  (unsigned)version);
    }
    return err == ERR_OK && r->bad ? ERR_MALFORMED : err;
}

/* Items are named by their place in the order of keys, which a checkpoint's state has too. */
static void rank_items(struct core *core)
{
    for (size_t i = 0; i < COMPONENT_COUNT; i++) {
        const struct component *component = components[i];
        struct item *item = component->first_from(core->state[i], "", 0, false);
        uint32_t applied = 0;

        for (; item != NULL; item = component->next(item))
            if (item->applied)
                item->rank = applied++;
    }
}

/* All but the requests, of which there are so many. */
static void encode_own_head(const struct core *core, struct writer *w, size_t requests)
{
    struct own_place reach = requests_reach(core->requests);

    if (MUTANT(forget_reach))
        reach = (struct own_place){0};
    streams_encode_own(&core->streams, w);
    write_varint(w, reach.stream);
    write_varint(w, reach.number);
    write_varint(w, requests);
}

static void encode_request(const struct request *request, struct writer *w)
{
    write_bytes(w, request->id.byte, ID_BYTES);
    write_varint(w, request->item->rank);
    write_svarint(w, request->value);
    write_svarint(w, request->number);
    write_varint(w, request->place.stream);
    write_varint(w, request->place.number);
}

static void encode_joins(bool joins, struct writer *w)
{
    if (joins)
        write_u8(w, 1);
}

void core_encode_own(struct core *core, struct writer *w)
{
    size_t count = requests_count(core->requests);

    assert(core->snapshot == NULL); /* Which goes by the ranks. */
    rank_items(core);
    encode_own_head(core, w, count);
    for (size_t i = 0; i < count; i++)
        encode_request(requests_at(core->requests, i), w);
    encode_joins(core->joins, w);
}

/* ---- the same in pieces ---- */

struct core_snapshot {
    struct core *core;
    struct writer state, own; /* what is encoded at once; its bytes are the snapshot's */
    size_t component;         /* that comes next */
    bool begun;               /* its number and version stand there */
    struct request *requests;
    size_t request_count, next_request;
    bool joins;
};

/* Streams are few: they change with the starts of nodes, not with what is counted. */
static enum err encode_heads(struct core_snapshot *s)
{
    size_t max = 64 + streams_encoded_max(&s->core->streams);

    s->state = writer_of(malloc(max), max);
    s->own = writer_of(malloc(max), max);
    if (s->state.start == NULL || s->own.start == NULL)
        return ERR_MEMORY;
    write_bytes(&s->state, s->core->config.cluster.byte, ID_BYTES);
    streams_encode(&s->core->streams, &s->state);
    write_u8(&s->state, COMPONENT_COUNT);
    encode_own_head(s->core, &s->own, s->request_count);
    return s->state.full || s->own.full ? ERR_MEMORY : ERR_OK;
}

static enum err copy_requests(struct core_snapshot *s)
{
    const struct requests *requests = s->core->requests;

    s->request_count = MUTANT(forget_requests) ? 0 : requests_count(requests);
    if (s->request_count == 0)
        return ERR_OK;
    s->requests = malloc(s->request_count * sizeof *s->requests);
    if (s->requests == NULL)
        return ERR_MEMORY;
    requests_copy(requests, s->requests);
    return ERR_OK;
}

enum err core_snapshot_new(struct core *core, struct core_snapshot **snapshot)
{
    struct core_snapshot *s = calloc(1, sizeof *s);
    enum err err;

    assert(core->gathered_count == 0 && core->unwritten_len == 0);
    assert(core->snapshot == NULL);
    if (s == NULL)
        return ERR_MEMORY;
    s->core = core;
    s->joins = core->joins;
    err = copy_requests(s);
    if (err == ERR_OK)
        err = encode_heads(s);
    if (err != ERR_OK) {
        core_snapshot_free(s);
        return err;
    }
    for (size_t i = 0; i < COMPONENT_COUNT; i++)
        components[i]->snapshot_begin(core->state[i]);
    core->snapshot = *snapshot = s;
    return ERR_OK;
}

void core_snapshot_free(struct core_snapshot *s)
{
    if (s->core->snapshot == s)
        s->core->snapshot = NULL;
    free((void *)s->state.start);
    free((void *)s->own.start);
    free(s->requests);
    free(s);
}

bool core_snapshot_state(struct core_snapshot *s, struct writer *w, size_t items)
{
    const struct component *component;

    if (s->component == 0 && !s->begun)
        write_bytes(w, s->state.start, s->state.len);
    component = components[s->component];
    if (!s->begun) {
        write_u8(w, component->number);
        write_varint(w, component->version);
    }
    s->begun = !component->snapshot_step(s->core->state[s->component], w, items);
    s->component += !s->begun;
    return s->component == COMPONENT_COUNT;
}

bool core_snapshot_own(struct core_snapshot *s, struct writer *w, size_t items)
{
    assert(s->component == COMPONENT_COUNT);
    if (s->next_request == 0)
        write_bytes(w, s->own.start, s->own.len);
    for (; s->next_request < s->request_count && items > 0; items--)
        encode_request(&s->requests[s->next_request++], w);
    if (s->next_request < s->request_count)
        return false;
    encode_joins(s->joins, w);
    return true;
}

/* Whether a block stands there, or it is before everything. */
static bool place_held(const struct core *core, struct own_place place)
{
    const struct streams *s = &core->streams;

    if (place.stream == 0)
        return place.number == 0;
    return place.stream <= s->own_count &&
           place.number <= s->own[place.stream - 1]->end.position.number;
}

/* All of `count` counters; the caller's. NULL without memory. */
static struct item **items_in_order(struct core *core, size_t count)
{
    const size_t c = component_index(counter_component.number);
    struct item **list = malloc((count + 1) * sizeof(struct item *)), **to = list;
    struct item *item = counter_component.first_from(core->state[c], "", 0, false);

    for (; list != NULL && item != NULL; item = counter_component.next(item))
        *to++ = item;
    return list;
}

enum err core_decode_own(struct core *core, struct reader *r)
{
    const size_t c = component_index(counter_component.number);
    struct own_place reach;
    size_t items = counter_component.count(core->state[c]);
    struct item **list = items_in_order(core, items);
    enum err err = list != NULL ? streams_decode_own(&core->streams, r) : ERR_MEMORY;
    uint64_t count;

    reach.stream = read_varint(r);
    reach.number = read_varint(r);
    count = read_varint(r);
    if (err == ERR_OK && (r->bad || !place_held(core, reach)))
        err = ERR_MALFORMED;
    for (uint64_t i = 0; i < count && err == ERR_OK; i++) {
        struct request request;
        uint64_t item;

        read_copy(r, request.id.byte, ID_BYTES);
        item = read_varint(r);
        request.value = read_svarint(r);
        request.number = read_svarint(r);
        request.place.stream = read_varint(r);
        request.place.number = read_varint(r);
        /* A repeat of what is not written waits for that; it must not wait for ever. */
        if (r->bad || item >= items || !place_held(core, request.place)) {
            err = ERR_MALFORMED;
            break;
        }
        request.item = list[item];
        requests_add(core->requests, &request);
    }
    free(list);
    core->joins = err == ERR_OK && r->left > 0;
    if (core->joins && read_u8(r) != 1)
        return ERR_MALFORMED;
    /* A smaller memory than the one that was saved has forgotten more. */
    if (own_place_before(requests_reach(core->requests), reach))
        requests_set_reach(core->requests, reach);
    return err == ERR_OK && r->bad ? ERR_MALFORMED : err;
}

enum err core_own_of(struct core *core, const struct public_key *node)
{
    static const struct public_key unknown;

    if (own_key(core, node) || own_key(core, &unknown))
        return ERR_OK;
    streams_forget_own(&core->streams);
    requests_free(core->requests);
    core->requests = requests_new(core->config.requests);
    return core->requests != NULL ? ERR_OK : ERR_MEMORY;
}

/* ---- going on from another node's checkpoint ---- */

enum err core_adopt(struct core *core, const struct core *old, struct reader *state)
{
    const struct stream *stream;
    enum err err = core_decode_state(core, state);

    if (err == ERR_OK && !reader_done(state))
        err = ERR_MALFORMED;
    if (err != ERR_OK)
        return err;
    if (old->clustered && !id_equal(&old->config.cluster, &core->config.cluster))
        return ERR_REFUSED;
    core->adopting = true;
    core->config.stream = old->config.stream;
    stream = streams_find(&core->streams, &core->config.stream);
    core->stream_lost =
        stream != NULL && stream->end.position.number > old->sealed_end.position.number;
    return ERR_OK;
}

enum err core_adopt_record(struct core *core, const uint8_t *bytes, size_t len)
{
    bool proof = len > 0 && bytes[0] == BLOCK_PROOF;
    const struct stream *stream;
    struct block block;
    enum err err;

    if (len > 0 &&
        (bytes[0] == BLOCK_ADOPTED || bytes[0] == BLOCK_DOUBT || bytes[0] == BLOCK_JOINS))
        return ERR_OK; /* What is in doubt, and whether it joins, comes from the old one. */
    err = block_decode(bytes + proof, len - proof, core->config.crypto, &block);
    if (err != ERR_OK)
        return err;
    core->stopped = block.stream;
    stream = streams_find(&core->streams, &block.stream);
    if (stream == NULL && (proof || block.number > 1))
        return ERR_NOT_FOUND;
    if (proof)
        return apply_proof(core, &block, bytes + 1, len - 1);
    if (stream != NULL) {
        switch (block_place(&stream->end, &block)) {
        case CORE_TAKEN:
            break;
        case CORE_HELD:
            return ERR_OK;
        case CORE_GAP:
            return ERR_NOT_FOUND;
        default:
            return ERR_CORRUPT;
        }
    }
    return apply_block(core, &block, false);
}

/* Do both ways that the proof shows go on from what is held? Then nothing of that is at stake. */
static bool forks_behind(const struct core *core, const struct stream *s)
{
    struct fork_half half[2];
    unsigned count;

    if (fork_read(s->proof.bytes, s->proof.len, core->config.crypto, half, &count) !=
            ERR_OK ||
        count != 2)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (half[i].block.number != s->end.position.number + 1 ||
            !hash_equal(&half[i].block.previous, &s->end.hash))
            return false;
    return true;
}

/* What the old one held of a stream goes into the new one: is it the same still? A checkpoint says where a stream ends and
 * not how it came there, so of one that forks, or may, only the same end will do, or one behind where it forks. */
static enum err check_stream(const struct core *old, const struct stream *held,
                             const struct stream *s)
{
    bool same = hash_equal(&held->end.hash, &s->end.hash);

    if (held->end.position.number == s->end.position.number)
        return same ? ERR_OK : ERR_CORRUPT;
    if (MUTANT(adopt_fork))
        return ERR_OK;
    if (s->frozen || s->told != 0)
        return forks_behind(old, s) ? ERR_OK : ERR_CORRUPT;
    return s->doubted ? ERR_AGAIN : ERR_OK;
}

/* Does the new one hold all that the old one held, and more? */
static enum err check_held(struct core *core, const struct core *old)
{
    bool more = core->streams.count > old->streams.count;
    enum err err;

    for (const struct stream *s = old->streams.table; s != NULL; s = s->hh.next) {
        const struct stream *held = streams_find(&core->streams, &s->end.position.stream);

        core->stopped = s->end.position.stream;
        if (held == NULL || held->end.position.number < s->end.position.number)
            return ERR_NOT_FOUND;
        err = check_stream(old, held, s);
        if (err != ERR_OK)
            return err;
        more = more || held->end.position.number > s->end.position.number;
    }
    return more ? ERR_OK : ERR_EXISTS;
}

/* What is known of forks is this node's own, too. */
static enum err move_forks(struct core *core, const struct core *old)
{
    enum err err = ERR_OK;

    for (const struct stream *s = old->streams.table; s != NULL && err == ERR_OK;
         s = s->hh.next) {
        struct stream *held = streams_find(&core->streams, &s->end.position.stream);
        struct fork_proof proof = {0};

        held->frozen = held->frozen || s->frozen;
        held->told = s->told;
        held->doubted = s->doubted;
        held->known = s->known;
        if (s->proof.blocks <= held->proof.blocks)
            continue;
        err = fork_copy(&proof, &s->proof);
        if (err == ERR_OK)
            streams_set_proof(&core->streams, held, &proof);
    }
    return err;
}

/* The streams that the old one knew as its own; then those of this node's key that it did not, written in a life
 * that this disk knows nothing of; and this run's at last, so that its end is that of this node's history. */
static bool order_own(struct core *core, const struct core *old)
{
    struct stream *present = streams_find(&core->streams, &old->config.stream), *next;
    bool whole = true;

    streams_forget_own(&core->streams);
    for (size_t i = 0; i < old->streams.own_count && whole; i++) {
        next = streams_find(&core->streams, &old->streams.own[i]->end.position.stream);
        whole = next == present || streams_add_own(&core->streams, next);
    }
    for (next = core->streams.table; next != NULL && whole; next = next->hh.next)
        if (own_key(core, &next->key) && next->own == 0 && next != present)
            whole = streams_add_own(&core->streams, next);
    return whole && (present == NULL || streams_add_own(&core->streams, present));
}

/* A place in the old one's order of this node's streams, in the new one's. */
static struct own_place move_place(const struct core *core, const struct core *old,
                                   struct own_place place)
{
    const struct id *id;

    if (place.stream == 0)
        return place;
    id = &old->streams.own[place.stream - 1]->end.position.stream;
    place.stream = streams_find(&core->streams, id)->own;
    return place;
}

/* Of blocks that only the checkpoint has, the requests are not known: the memory reaches back to behind them. */
static void move_reach(struct core *core, const struct core *old)
{
    struct own_place reach = move_place(core, old, requests_reach(old->requests));

    for (size_t i = 0; i < core->streams.own_count; i++) {
        const struct stream_end *end = &core->streams.own[i]->end;
        struct own_place place = {i + 1, end->position.number};

        if (end->position.number > core_held(old, &end->position.stream) &&
            !MUTANT(keep_reach) && own_place_before(reach, place))
            reach = place;
    }
    if (own_place_before(requests_reach(core->requests), reach))
        requests_set_reach(core->requests, reach);
}

/* const for those who only look; the state is this core's. Whoever holds an op's block holds its item. */
static struct item *item_here(const struct core *core, const struct item *item)
{
    const size_t c = component_index(counter_component.number);

    return (struct item *)(uintptr_t)counter_component.find(core->state[c], item->key,
                                                            item->key_len);
}

static enum err move_requests(struct core *core, const struct core *old)
{
    size_t count = requests_count(old->requests);

    for (size_t i = 0; i < count; i++) {
        struct request request = *requests_at(old->requests, i);

        request.item = item_here(core, request.item);
        if (request.item == NULL)
            return ERR_NOT_FOUND;
        request.place = move_place(core, old, request.place);
        requests_add(core->requests, &request);
    }
    move_reach(core, old);
    return ERR_OK;
}

enum err core_adopt_own(struct core *core, const struct core *old)
{
    enum err err = check_held(core, old);

    assert(old->gathered_count == 0 && old->unwritten_len == 0);
    if (err != ERR_OK)
        return err;
    err = move_forks(core, old);
    if (err != ERR_OK)
        return err;
    if (!order_own(core, old))
        return ERR_MEMORY;
    core->adopting = false;
    core->joins = old->joins || !core_is_open(old);
    return move_requests(core, old);
}

const struct id *core_adopt_stopped(const struct core *core)
{
    return &core->stopped;
}

/* Out of the old one's queue into the same one of the new. */
static void move_waits(struct core *core, const struct core *old, struct waits *to,
                       struct waits *from)
{
    for (size_t i = 0; i < from->count; i++) {
        struct wait *wait = &from->list[from->first + i];

        wait->item = item_here(core, wait->item);
        wait->place = move_place(core, old, wait->place);
        assert(wait->item != NULL);
        if (wait->again && wait->place.stream > 0)
            core->streams.own[wait->place.stream - 1]->again++;
    }
    *to = *from;
    *from = (struct waits){0};
}

static void move_copies(struct core *core, struct core *old)
{
    core->copies = old->copies;
    core->nodes = old->nodes;
    core->now_ms = old->now_ms;
    core->copies_wait_ms = old->copies_wait_ms;
    core->late = old->late;
    core->lags = old->lags;
    core->again_changed = true;
    for (size_t i = 0; i < old->streams.own_count; i++) {
        const struct stream *own = old->streams.own[i];

        streams_find(&core->streams, &own->end.position.stream)->copied = own->copied;
    }
    move_waits(core, old, &core->fresh, &old->fresh);
    move_waits(core, old, &core->again, &old->again);
}

void core_take_over(struct core *core, struct core *old)
{
    assert(old->gathered_count == 0 && old->unwritten_len == 0 &&
           old->unwritten_waits.count == 0);
    move_copies(core, old);
    core->config.stream = old->config.stream;
    core->sealed_end = old->sealed_end;
    core->stream_lost = old->stream_lost;
    core->open = old->open;
    core->blocks = old->blocks;
    core->ops = old->ops;
    free(core->trusted);
    core->trusted = old->trusted;
    core->trusted_count = old->trusted_count;
    old->trusted = NULL;
    old->trusted_count = 0;
}

/* ---- looking ---- */

void core_figures(const struct core *core, struct core_figures *figures)
{
    const struct stream *own = streams_last_own(&core->streams);

    *figures = (struct core_figures){.cluster = core->config.cluster,
                                     .stream = core->config.stream,
                                     .streams = core->streams.count,
                                     .blocks = core->blocks,
                                     .ops = core->ops,
                                     .requests = requests_count(core->requests),
                                     .copies = core->copies,
                                     .nodes = core->nodes,
                                     .waiting = core->fresh.count + core->again.count,
                                     .late = core->late};
    if (own != NULL)
        figures->end = own->end;
    for (const struct stream *s = core->streams.table; s != NULL; s = s->hh.next) {
        figures->forks += s->frozen;
        figures->doubted += s->doubted;
    }
    for (size_t i = 0; i < COMPONENT_COUNT; i++)
        figures->items += components[i]->count(core->state[i]);
}

const struct streams *core_streams(const struct core *core)
{
    return &core->streams;
}

struct item *core_item_from(struct core *core, const struct component *component,
                            const char *key, size_t key_len, bool past)
{
    return component->first_from(core->state[component_index(component->number)], key,
                                 key_len, past);
}

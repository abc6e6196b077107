#include "replica/core.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "replica/mutant.h"
#include "replica/requests.h"
#include "replica/streams.h"

/* Ops of one block, at most. */
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

struct waiter {
    uint64_t ticket;
    const struct item *item;
    struct id id;
    int64_t number;
};

struct core {
    struct core_config config;
    bool
        clustered; /* config.cluster is known from the log: it is not ours to choose any more */
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

    /* Sealed blocks, one after another, that are not known to be durable; and where they end. */
    uint8_t *sealed;
    size_t sealed_len, sealed_size;
    struct stream_end sealed_end; /* position.number 0: the stream has no block yet */
    uint32_t unwritten;           /* counts: gathered and sealed */

    struct waiter *waiters;
    size_t waiter_count, waiter_size;
};

struct core *core_new(const struct core_config *config)
{
    struct core *core = calloc(1, sizeof *core);
    bool whole;

    if (core == NULL)
        return NULL;
    core->config = *config;
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
    free(core->sealed);
    free(core->waiters);
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

/* The stream that the block continues. */
static enum err block_stream(struct core *core, const struct block *block,
                             struct stream **stream)
{
    const struct block_origin *origin = &block->origin;
    const struct public_key *mine = &core->config.key.public;

    *stream = streams_find(&core->streams, &block->stream);
    if (*stream == NULL) {
        if (block->number != 1)
            return ERR_CORRUPT;
        if (core->clustered && !id_equal(&origin->cluster, &core->config.cluster))
            return ERR_REFUSED;
        *stream = streams_add(
            &core->streams, &block->stream, &origin->key, origin->name, origin->name_len,
            memcmp(origin->key.byte, mine->byte, sizeof mine->byte) == 0);
        if (*stream == NULL)
            return ERR_MEMORY;
        core->config.cluster = origin->cluster;
        core->clustered = true;
    }
    if (block->number != (*stream)->end.position.number + 1 ||
        !hash_equal(&block->previous, &(*stream)->end.hash))
        return ERR_CORRUPT;
    return ERR_OK;
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

/* here: the block was gathered by this core, which reserved its ops and remembers their ids. */
static enum err apply_block(struct core *core, const struct block *block, bool here)
{
    struct block_cursor cursor = block_ops(block);
    struct stream *stream;
    struct item *item;
    struct op op;
    enum err err = block_stream(core, block, &stream);

    if (err != ERR_OK)
        return err;
    while (block_next_op(&cursor, &op)) {
        size_t i = component_index(op.component);

        item = components[i]->apply(core->state[i], &op, here);
        if (item == NULL)
            return ERR_MEMORY;
        if (stream->own > 0 && !here)
            remember(core, &op, item, (struct own_place){stream->own, block->number});
        core->ops++;
    }
    stream->end.position.number = block->number;
    stream->end.hash = block->hash;
    if (MUTANT(resume_stream) && stream->own > 0 && !here) {
        core->config.stream = block->stream;
        core->sealed_end = stream->end;
    }
    core->blocks++;
    return ERR_OK;
}

enum err core_replay(struct core *core, const uint8_t *bytes, size_t len)
{
    struct block block;
    enum err err = block_decode(bytes, len, core->config.crypto, &block);

    return err == ERR_OK ? apply_block(core, &block, false) : err;
}

/* ---- requests ---- */

/* Without peers, this node's order is the only one there is. */
static enum status good_status(void)
{
    return STATUS_FINAL;
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

static bool add_waiter(struct core *core, uint64_t ticket, const struct id *id,
                       const struct item *item, int64_t number)
{
    if (core->waiter_count == core->waiter_size) {
        size_t size = core->waiter_size == 0 ? 1024 : 2 * core->waiter_size;
        struct waiter *waiters = realloc(core->waiters, size * sizeof *waiters);

        if (waiters == NULL)
            return false;
        core->waiters = waiters;
        core->waiter_size = size;
    }
    core->waiters[core->waiter_count++] =
        (struct waiter){.ticket = ticket, .item = item, .id = *id, .number = number};
    return true;
}

static enum core_verdict refuse(struct msg_count_rep *rep, enum status status)
{
    rep->status = status;
    return CORE_ANSWERED;
}

static enum core_verdict repeat(struct core *core, const struct request *known,
                                const struct msg_count_req *req, uint64_t ticket,
                                struct msg_count_rep *rep)
{
    if (!is_same(known, req))
        return refuse(rep, STATUS_ERROR);
    if (own_place_before(written_place(core), known->place) && !MUTANT(answer_unsynced))
        return add_waiter(core, ticket, &req->id, known->item, known->number)
                   ? CORE_WAITS
                   : refuse(rep, STATUS_UNKNOWN); /* It may yet be counted. */
    rep->number = known->number;
    rep->total = known->item->total;
    return refuse(rep, good_status());
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
    struct item *item;
    enum status status;

    *rep = (struct msg_count_rep){.id = req->id};
    if (known != NULL && MUTANT(count_again) &&
        own_place_before(written_place(core), known->place))
        known = NULL;
    if (known != NULL)
        return repeat(core, known, req, ticket, rep);
    if (!memory_reaches(core, &req->heard))
        return refuse(rep, STATUS_UNKNOWN);
    if (bytes > (room < BLOCK_MAX ? room : BLOCK_MAX) ||
        core->unwritten == CORE_UNWRITTEN_MAX)
        return core->unwritten > 0 ? CORE_SEAL_FIRST : refuse(rep, STATUS_UNAVAILABLE);
    if (!add_waiter(core, ticket, &req->id, NULL, 0))
        return refuse(rep, STATUS_UNAVAILABLE);
    status = counter_component.admit(core->state[c], &op, &item);
    if (status != STATUS_FINAL) {
        core->waiter_count--;
        return refuse(rep, status);
    }
    op.before = item->total + (MUTANT(number_of_durable) ? 0 : item->reserved - op.value);
    remember(core, &op, item, gathering_place(core));
    gather(core, counter_component.number, &op, item);
    core->waiters[core->waiter_count - 1].item = item;
    core->waiters[core->waiter_count - 1].number = op.before + op.value;
    core->unwritten++;
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
    item = counter_component.find(core->state[c], req->name, req->name_len);
    rep->total = item != NULL ? item->total : 0;
    rep->status = good_status();
}

/* ---- commit ---- */

bool core_gathered(const struct core *core)
{
    return core->gathered_count > 0;
}

static bool sealed_reserve(struct core *core, size_t bytes)
{
    size_t need = core->sealed_len + bytes;
    uint8_t *sealed;

    if (need <= core->sealed_size)
        return true;
    sealed = realloc(core->sealed, need);
    if (sealed == NULL)
        return false;
    core->sealed = sealed;
    core->sealed_size = need;
    return true;
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
}

enum err core_seal(struct core *core, uint64_t wall_ms, const uint8_t **bytes,
                   size_t *len)
{
    struct block head = {.stream = core->config.stream,
                         .number = core->sealed_end.position.number + 1,
                         .previous = core->sealed_end.hash,
                         .stamp_ms = wall_ms,
                         .groups = core->group_count};
    /* A u32 length before each block, so that core_written() can tell them apart. */
    size_t max = sizeof(uint32_t) + BLOCK_FIXED_MAX + core->gathered_bytes;
    struct writer w, length;

    assert(core->gathered_count > 0);
    if (!sealed_reserve(core, max))
        return ERR_MEMORY;
    if (head.number == 1)
        set_origin(core, &head.origin);
    length = writer_of(core->sealed + core->sealed_len, sizeof(uint32_t));
    w = writer_of(core->sealed + core->sealed_len + sizeof(uint32_t),
                  max - sizeof(uint32_t));
    block_put_head(&w, &head);
    put_groups(core, &w);
    block_seal(&w, core->config.crypto, &core->config.key, &core->sealed_end.hash);
    assert(!w.full && w.len <= BLOCK_MAX);
    write_u32(&length, (uint32_t)w.len);
    core->sealed_len += sizeof(uint32_t) + w.len;
    core->sealed_end.position.number = head.number;
    core->group_count = core->gathered_count = 0;
    core->gathered_bytes = 0;
    core->group_mark++;
    *bytes = w.start;
    *len = w.len;
    return ERR_OK;
}

enum err core_written(struct core *core, core_reply_fn *reply, void *arg)
{
    struct reader r = reader_of(core->sealed, core->sealed_len);
    struct block block;
    enum err err;

    assert(core->gathered_count == 0); /* Its counts would be answered with the others. */
    while (r.left > 0) {
        uint32_t len = read_u32(&r);
        const uint8_t *bytes = read_bytes(&r, len);

        err = block_decode(bytes, len, core->config.crypto, &block);
        if (err == ERR_OK)
            err = apply_block(core, &block, true);
        assert(err == ERR_OK || err == ERR_MEMORY); /* We made it ourselves. */
        if (err != ERR_OK)
            return err;
    }
    core->sealed_len = 0;
    core->unwritten = 0;
    for (size_t i = 0; i < core->waiter_count; i++) {
        const struct waiter *waiter = &core->waiters[i];
        struct msg_count_rep rep = {.id = waiter->id,
                                    .number = waiter->number,
                                    .total = waiter->item->total,
                                    .status = good_status()};

        reply(arg, waiter->ticket, &rep);
    }
    core->waiter_count = 0;
    return ERR_OK;
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
    return bytes + 64 + requests_count(core->requests) * (ID_BYTES + 1 + 5 * 10);
}

void core_encode_state(struct core *core, struct writer *w)
{
    assert(core->unwritten == 0);
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
static bool number_items(struct core *core)
{
    core->group_mark++; /* `group` is the gathering's, which is empty. */
    for (size_t i = 0; i < COMPONENT_COUNT; i++) {
        size_t count;
        struct item **items = components[i]->sorted(core->state[i], &count);
        uint32_t applied = 0;

        if (items == NULL)
            return false;
        for (size_t j = 0; j < count; j++)
            if (items[j]->applied)
                items[j]->group = applied++;
    }
    return true;
}

void core_encode_own(struct core *core, struct writer *w)
{
    struct own_place reach = requests_reach(core->requests);
    size_t count = requests_count(core->requests);

    if (MUTANT(forget_requests))
        count = 0;
    if (MUTANT(forget_reach))
        reach = (struct own_place){0};

    if (!number_items(core)) {
        w->full = true;
        return;
    }
    streams_encode_own(&core->streams, w);
    write_varint(w, reach.stream);
    write_varint(w, reach.number);
    write_varint(w, count);
    for (size_t i = 0; i < count; i++) {
        const struct request *request = requests_at(core->requests, i);

        write_bytes(w, request->id.byte, ID_BYTES);
        write_varint(w, request->item->group);
        write_svarint(w, request->value);
        write_svarint(w, request->number);
        write_varint(w, request->place.stream);
        write_varint(w, request->place.number);
    }
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

enum err core_decode_own(struct core *core, struct reader *r)
{
    const size_t c = component_index(counter_component.number);
    struct own_place reach;
    size_t items;
    struct item **list = counter_component.sorted(core->state[c], &items);
    enum err err = streams_decode_own(&core->streams, r);
    uint64_t count;

    if (list == NULL)
        return ERR_MEMORY;
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
        if (r->bad || item >= items || !place_held(core, request.place))
            return ERR_MALFORMED;
        request.item = list[item];
        requests_add(core->requests, &request);
    }
    /* A smaller memory than the one that was saved has forgotten more. */
    if (own_place_before(requests_reach(core->requests), reach))
        requests_set_reach(core->requests, reach);
    return err == ERR_OK && r->bad ? ERR_MALFORMED : err;
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
                                     .requests = requests_count(core->requests)};
    if (own != NULL)
        figures->end = own->end;
    for (size_t i = 0; i < COMPONENT_COUNT; i++) {
        size_t count = 0;

        components[i]->sorted(core->state[i], &count);
        figures->items += count;
    }
}

const struct streams *core_streams(const struct core *core)
{
    return &core->streams;
}

struct item **core_items(struct core *core, const struct component *component,
                         size_t *count)
{
    return component->sorted(core->state[component_index(component->number)], count);
}

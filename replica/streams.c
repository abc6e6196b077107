#include "replica/streams.h"

#include <stdlib.h>
#include <string.h>

void streams_clear(struct streams *s)
{
    struct stream *stream, *next;

    HASH_ITER(hh, s->table, stream, next)
    {
        HASH_DEL(s->table, stream);
        fork_clear(&stream->proof);
        free(stream);
    }
    free(s->own);
    *s = (struct streams){0};
}

struct stream *streams_find(const struct streams *s, const struct id *id)
{
    struct stream *stream;

    HASH_FIND(hh, s->table, id, sizeof *id, stream);
    return stream;
}

bool streams_add_own(struct streams *s, struct stream *stream)
{
    if (s->own_count == s->own_size) {
        size_t size = s->own_size == 0 ? 16 : 2 * s->own_size;
        struct stream **own = realloc(s->own, size * sizeof *own);

        if (own == NULL)
            return false;
        s->own = own;
        s->own_size = size;
    }
    s->own[s->own_count++] = stream;
    stream->own = s->own_count;
    return true;
}

static void name_before(struct stream *before, struct stream *after)
{
    if (before->after != NULL && before->after != after)
        before->contested = true;
    before->after = after;
}

/* Streams come in any order. */
static void connect_stream(struct streams *s, struct stream *stream)
{
    struct stream *before = streams_find(s, &stream->before.position.stream);

    if (before != NULL)
        name_before(before, stream);
    for (struct stream *other = s->table; other != NULL; other = other->hh.next)
        if (id_equal(&other->before.position.stream, &stream->end.position.stream))
            name_before(stream, other);
}

static struct stream *add_stream(struct streams *s, const struct id *id,
                                 const struct block_origin *origin, bool own)
{
    struct stream *stream = calloc(1, sizeof *stream);

    if (stream == NULL)
        return NULL;
    stream->end.position.stream = stream->taken.position.stream = *id;
    stream->key = origin->key;
    stream->before = origin->before;
    stream->provisional = origin->provisional;
    stream->name_len = origin->name_len;
    memcpy(stream->name, origin->name, origin->name_len);
    if (own && !streams_add_own(s, stream)) {
        free(stream);
        return NULL;
    }
    HASH_ADD(hh, s->table, end.position.stream, sizeof *id, stream);
    if (stream->hh.tbl == NULL) {
        s->own_count -= own;
        free(stream);
        return NULL;
    }
    s->count++;
    s->provisional = s->provisional || stream->provisional;
    return stream;
}

struct stream *streams_add(struct streams *s, const struct id *id,
                           const struct block_origin *origin, bool own)
{
    struct stream *stream = add_stream(s, id, origin, own);

    if (stream != NULL)
        connect_stream(s, stream);
    return stream;
}

void streams_set_proof(struct streams *s, struct stream *stream, struct fork_proof *proof)
{
    s->proof_bytes += proof->len;
    s->proof_bytes -= stream->proof.len;
    fork_clear(&stream->proof);
    stream->proof = *proof;
    *proof = (struct fork_proof){0};
}

bool stream_is_named(const struct stream *stream)
{
    const struct stream *after = stream->after;

    return after != NULL && !stream->contested && after->end.position.number > 0 &&
           after->before.position.number == stream->end.position.number &&
           hash_equal(&after->before.hash, &stream->end.hash);
}

void streams_forget_own(struct streams *s)
{
    for (size_t i = 0; i < s->own_count; i++)
        s->own[i]->own = 0;
    s->own_count = 0;
}

const struct stream *streams_last_own(const struct streams *s)
{
    return s->own_count > 0 ? s->own[s->own_count - 1] : NULL;
}

/* Of one stream in this node's own part, but for its proof. */
enum { OWN_MAX = 2 * ID_BYTES + 2 + 10 };

static int stream_order(const struct stream *a, const struct stream *b)
{
    return memcmp(a->end.position.stream.byte, b->end.position.stream.byte, ID_BYTES);
}

size_t streams_encoded_max(const struct streams *s)
{
    return 40 + s->proof_bytes +
           s->count * (2 * (ID_BYTES + 10 + HASH_BYTES) + PUBLIC_KEY_BYTES + 1 +
                       NODE_NAME_MAX + 1 + OWN_MAX);
}

static void put_end(struct writer *w, const struct stream_end *end)
{
    write_bytes(w, end->position.stream.byte, ID_BYTES);
    write_varint(w, end->position.number);
    write_bytes(w, end->hash.byte, HASH_BYTES);
}

static void get_end(struct reader *r, struct stream_end *end)
{
    read_copy(r, end->position.stream.byte, ID_BYTES);
    end->position.number = read_varint(r);
    read_copy(r, end->hash.byte, HASH_BYTES);
}

void streams_encode(struct streams *s, struct writer *w)
{
    HASH_SRT(hh, s->table, stream_order);
    write_varint(w, s->count);
    for (const struct stream *stream = s->table; stream != NULL;
         stream = stream->hh.next) {
        put_end(w, &stream->end);
        write_bytes(w, stream->key.byte, PUBLIC_KEY_BYTES);
        write_u8(w, stream->name_len);
        write_bytes(w, stream->name, stream->name_len);
        put_end(w, &stream->before);
        write_u8(w, stream->provisional);
    }
}

/* *last is the stream decoded before this one, or NULL. */
static enum err stream_decode(struct streams *s, struct reader *r,
                              const struct stream **last)
{
    struct block_origin origin = {0};
    struct stream_end end = {0};
    struct stream *stream;

    get_end(r, &end);
    read_copy(r, origin.key.byte, PUBLIC_KEY_BYTES);
    origin.name_len = read_u8(r);
    if (origin.name_len > NODE_NAME_MAX)
        return ERR_MALFORMED;
    read_copy(r, origin.name, origin.name_len);
    get_end(r, &origin.before);
    origin.provisional = read_bool(r);
    if (r->bad || end.position.number == 0)
        return ERR_MALFORMED;
    stream = add_stream(s, &end.position.stream, &origin, false);
    if (stream == NULL)
        return ERR_MEMORY;
    stream->end = stream->taken = end;
    if (*last != NULL && stream_order(*last, stream) >= 0)
        return ERR_MALFORMED;
    *last = stream;
    return ERR_OK;
}

enum err streams_decode(struct streams *s, struct reader *r)
{
    uint64_t count = read_varint(r);
    enum err err = r->bad ? ERR_MALFORMED : ERR_OK;
    const struct stream *last = NULL;

    for (uint64_t i = 0; i < count && err == ERR_OK; i++)
        err = stream_decode(s, r, &last);
    for (struct stream *stream = s->table; stream != NULL; stream = stream->hh.next) {
        struct stream *before = streams_find(s, &stream->before.position.stream);

        if (before != NULL)
            name_before(before, stream);
    }
    return err;
}

/* What a stream's mark says. */
enum { MARK_FROZEN = 1, MARK_DOUBTED = 2, MARK_MAX = 3 };

static void put_mark(struct writer *w, const struct stream *stream)
{
    write_bytes(w, stream->end.position.stream.byte, ID_BYTES);
    write_u8(w, (uint8_t)((stream->frozen ? MARK_FROZEN : 0) |
                          (stream->doubted ? MARK_DOUBTED : 0)));
    write_u8(w, (uint8_t)stream->proof.blocks);
    write_varint(w, stream->proof.len);
    write_bytes(w, stream->proof.bytes, stream->proof.len);
}

void streams_encode_own(const struct streams *s, struct writer *w)
{
    size_t marked = 0;

    write_varint(w, s->own_count);
    for (size_t i = 0; i < s->own_count; i++)
        write_bytes(w, s->own[i]->end.position.stream.byte, ID_BYTES);
    for (const struct stream *stream = s->table; stream != NULL; stream = stream->hh.next)
        marked += stream->frozen || stream->doubted;
    write_varint(w, marked);
    for (const struct stream *stream = s->table; stream != NULL; stream = stream->hh.next)
        if (stream->frozen || stream->doubted)
            put_mark(w, stream);
}

/* The next id, which must be of a stream that is here; NULL otherwise. */
static struct stream *known_stream(const struct streams *s, struct reader *r)
{
    struct id id;

    read_copy(r, id.byte, sizeof id.byte);
    return r->bad ? NULL : streams_find(s, &id);
}

static enum err get_mark(struct streams *s, struct stream *stream, struct reader *r)
{
    uint8_t mark = read_u8(r), blocks = read_u8(r);
    uint64_t len = read_varint(r);
    struct fork_proof proof = {.blocks = blocks};

    if (r->bad || mark == 0 || mark > MARK_MAX || blocks > 2 ||
        (blocks == 0) != (len == 0) || len > FORK_PROOF_MAX || len > r->left)
        return ERR_MALFORMED;
    stream->frozen = (mark & MARK_FROZEN) != 0;
    stream->doubted = (mark & MARK_DOUBTED) != 0;
    if (len == 0)
        return ERR_OK;
    proof.len = (size_t)len;
    proof.bytes = malloc(proof.len);
    if (proof.bytes == NULL)
        return ERR_MEMORY;
    read_copy(r, proof.bytes, proof.len);
    streams_set_proof(s, stream, &proof);
    return ERR_OK;
}

enum err streams_decode_own(struct streams *s, struct reader *r)
{
    uint64_t count = read_varint(r);
    enum err err = ERR_OK;

    for (uint64_t i = 0; i < count; i++) {
        struct stream *stream = known_stream(s, r);

        if (stream == NULL || stream->own != 0)
            return ERR_MALFORMED;
        if (!streams_add_own(s, stream))
            return ERR_MEMORY;
    }
    count = read_varint(r);
    for (uint64_t i = 0; i < count && err == ERR_OK; i++) {
        struct stream *stream = known_stream(s, r);

        if (stream == NULL || stream->frozen || stream->doubted)
            return ERR_MALFORMED;
        err = get_mark(s, stream, r);
    }
    if (err != ERR_OK)
        return err;
    return r->bad ? ERR_MALFORMED : ERR_OK;
}

#include "replica/streams.h"

#include <stdlib.h>
#include <string.h>

void streams_clear(struct streams *s)
{
    struct stream *stream, *next;

    HASH_ITER(hh, s->table, stream, next)
    {
        HASH_DEL(s->table, stream);
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

struct stream *streams_add(struct streams *s, const struct id *id,
                           const struct public_key *key, const char *name,
                           uint8_t name_len, bool own)
{
    struct stream *stream = calloc(1, sizeof *stream);

    if (stream == NULL)
        return NULL;
    stream->end.position.stream = stream->taken.position.stream = *id;
    stream->key = *key;
    stream->name_len = name_len;
    memcpy(stream->name, name, name_len);
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
    return stream;
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

static int stream_order(const struct stream *a, const struct stream *b)
{
    return memcmp(a->end.position.stream.byte, b->end.position.stream.byte, ID_BYTES);
}

size_t streams_encoded_max(const struct streams *s)
{
    return 20 + s->count * (2 * ID_BYTES + 10 + HASH_BYTES + PUBLIC_KEY_BYTES + 1 +
                            NODE_NAME_MAX);
}

void streams_encode(struct streams *s, struct writer *w)
{
    HASH_SRT(hh, s->table, stream_order);
    write_varint(w, s->count);
    for (const struct stream *stream = s->table; stream != NULL;
         stream = stream->hh.next) {
        write_bytes(w, stream->end.position.stream.byte, ID_BYTES);
        write_varint(w, stream->end.position.number);
        write_bytes(w, stream->end.hash.byte, HASH_BYTES);
        write_bytes(w, stream->key.byte, PUBLIC_KEY_BYTES);
        write_u8(w, stream->name_len);
        write_bytes(w, stream->name, stream->name_len);
    }
}

/* *last is the stream decoded before this one, or NULL. */
static enum err stream_decode(struct streams *s, struct reader *r,
                              const struct stream **last)
{
    struct stream_end end = {0};
    struct stream *stream;
    struct public_key key;
    const char *name;
    uint8_t name_len;

    read_copy(r, end.position.stream.byte, ID_BYTES);
    end.position.number = read_varint(r);
    read_copy(r, end.hash.byte, HASH_BYTES);
    read_copy(r, key.byte, PUBLIC_KEY_BYTES);
    name_len = read_u8(r);
    name = (const char *)read_bytes(r, name_len);
    if (r->bad || name_len > NODE_NAME_MAX || end.position.number == 0)
        return ERR_MALFORMED;
    stream = streams_add(s, &end.position.stream, &key, name, name_len, false);
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
    return err;
}

void streams_encode_own(const struct streams *s, struct writer *w)
{
    size_t frozen = 0;

    write_varint(w, s->own_count);
    for (size_t i = 0; i < s->own_count; i++)
        write_bytes(w, s->own[i]->end.position.stream.byte, ID_BYTES);
    for (const struct stream *stream = s->table; stream != NULL; stream = stream->hh.next)
        frozen += stream->frozen;
    write_varint(w, frozen);
    for (const struct stream *stream = s->table; stream != NULL; stream = stream->hh.next)
        if (stream->frozen)
            write_bytes(w, stream->end.position.stream.byte, ID_BYTES);
}

/* The next id, which must be of a stream that is here; NULL otherwise. */
static struct stream *known_stream(const struct streams *s, struct reader *r)
{
    struct id id;

    read_copy(r, id.byte, sizeof id.byte);
    return r->bad ? NULL : streams_find(s, &id);
}

enum err streams_decode_own(struct streams *s, struct reader *r)
{
    uint64_t count = read_varint(r);

    for (uint64_t i = 0; i < count; i++) {
        struct stream *stream = known_stream(s, r);

        if (stream == NULL || stream->own != 0)
            return ERR_MALFORMED;
        if (!streams_add_own(s, stream))
            return ERR_MEMORY;
    }
    count = read_varint(r);
    for (uint64_t i = 0; i < count; i++) {
        struct stream *stream = known_stream(s, r);

        if (stream == NULL || stream->frozen)
            return ERR_MALFORMED;
        stream->frozen = true;
    }
    return r->bad ? ERR_MALFORMED : ERR_OK;
}

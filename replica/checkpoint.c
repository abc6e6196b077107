#include "replica/checkpoint.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/byte.h"
#include "common/log.h"
#include "replica/mutant.h"

static const uint8_t checkpoint_magic[8] = {'T', 'A', 'L', 'L', 'Y', 'C', 'K', 'P'};

enum {
    HEADER = 8 + 4 + 4 + 8 + 8 + 8 + 8, /* magic, format, zero, LSN, check, two lengths */
    TRAILER = PUBLIC_KEY_BYTES + SIGNATURE_BYTES + HASH_BYTES,
};

/* A file larger than this, in bytes, is none of ours. */
static const uint64_t size_max = UINT64_C(1) << 36;

void checkpoint_name(uint64_t number, char name[DISK_NAME_MAX + 1])
{
    snprintf(name, DISK_NAME_MAX + 1, "%016" PRIu64 ".checkpoint", number);
}

static void put_header(struct writer *w, const struct wal_mark *mark, uint64_t state,
                       uint64_t own)
{
    write_bytes(w, checkpoint_magic, sizeof checkpoint_magic);
    write_u32(w, CHECKPOINT_FORMAT);
    write_u32(w, 0);
    write_u64(w, mark->lsn);
    write_u64(w, mark->check);
    write_u64(w, state);
    write_u64(w, own);
}

enum err checkpoint_encode(struct core *core, const struct wal_mark *mark,
                           uint64_t number, const struct crypto *crypto,
                           const struct key_pair *key, struct disk_make *make)
{
    size_t max = HEADER + core_encoded_max(core) + TRAILER, state, own;
    uint8_t signature[SIGNATURE_BYTES], *bytes = malloc(max);
    struct writer w = writer_of(bytes, max), header = writer_of(bytes, HEADER);
    struct hash hash;

    if (bytes == NULL)
        return ERR_MEMORY;
    w.len = HEADER;
    core_encode_state(core, &w);
    state = w.len - HEADER;
    core_encode_own(core, &w);
    own = w.len - HEADER - state;
    if (w.full) {
        free(bytes);
        return ERR_MEMORY;
    }
    put_header(&header, mark, state, own);
    crypto->hash(&hash, bytes + HEADER, state);
    crypto->sign(signature, &hash, key);
    write_bytes(&w, key->public.byte, PUBLIC_KEY_BYTES);
    write_bytes(&w, signature, sizeof signature);
    crypto->hash(&hash, bytes, w.len);
    write_bytes(&w, hash.byte, sizeof hash.byte);
    assert(!w.full);
    *make = (struct disk_make){.bytes = bytes, .len = w.len, .size = w.len};
    checkpoint_name(number, make->name);
    return ERR_OK;
}

/* ---- listing ---- */

struct listing {
    uint64_t *numbers; /* newest first */
    size_t count, max;
};

static void list_one(void *arg, const char *name)
{
    struct listing *l = arg;
    char expected[DISK_NAME_MAX + 1];
    uint64_t number;
    size_t at;

    if (sscanf(name, "%16" SCNu64, &number) != 1)
        return;
    checkpoint_name(number, expected);
    if (strcmp(name, expected) != 0)
        return;
    l->count++;
    for (at = 0; at < l->max && at + 1 < l->count && l->numbers[at] > number; at++)
        ;
    if (at == l->max)
        return;
    for (size_t i = l->count <= l->max ? l->count - 1 : l->max - 1; i > at; i--)
        l->numbers[i] = l->numbers[i - 1];
    l->numbers[at] = number;
}

enum err checkpoint_list(struct disk *disk, uint64_t *numbers, size_t max, size_t *count)
{
    struct listing l = {.numbers = numbers, .max = max};
    enum err err = disk->ops->list(disk, list_one, &l);

    *count = l.count;
    return err;
}

/* ---- loading ---- */

static enum err read_file(struct disk *disk, const char *name, uint8_t **bytes,
                          size_t *len)
{
    struct disk_file *file;
    uint64_t size;
    enum err err = disk->ops->open(disk, name, &file);

    *bytes = NULL;
    if (err != ERR_OK)
        return err;
    err = disk->ops->size(file, &size);
    if (err == ERR_OK && (size < HEADER + TRAILER || size > size_max))
        err = ERR_CORRUPT;
    if (err == ERR_OK && (*bytes = malloc((size_t)size)) == NULL)
        err = ERR_MEMORY;
    if (err == ERR_OK)
        err = disk->ops->read(file, 0, *bytes, (size_t)size, len);
    disk->ops->close(file);
    return err == ERR_OK && *len < size ? ERR_CORRUPT : err;
}

/* The hashes and the signature; *state and *own are then readers of the two parts. */
static enum err check(const uint8_t *bytes, size_t len, const struct crypto *crypto,
                      struct checkpoint *c, struct reader *state, struct reader *own)
{
    struct reader r = reader_of(bytes, len);
    const uint8_t *magic = read_bytes(&r, sizeof checkpoint_magic);
    uint32_t format = read_u32(&r);
    uint64_t state_len, own_len;
    const uint8_t *part;
    struct hash hash;

    if (memcmp(magic, checkpoint_magic, sizeof checkpoint_magic) != 0)
        return ERR_CORRUPT;
    if (format > CHECKPOINT_FORMAT)
        return ERR_VERSION;
    crypto->hash(&hash, bytes, len - HASH_BYTES);
    if (memcmp(hash.byte, bytes + len - HASH_BYTES, HASH_BYTES) != 0 &&
        !MUTANT(skip_checkpoint_hash))
        return ERR_CORRUPT;
    read_u32(&r);
    c->mark.lsn = read_u64(&r);
    c->mark.check = read_u64(&r);
    state_len = read_u64(&r);
    own_len = read_u64(&r);
    if (state_len > len || own_len > len)
        return ERR_CORRUPT;
    part = read_bytes(&r, (size_t)state_len);
    *state = reader_of(part, (size_t)state_len);
    *own = reader_of(read_bytes(&r, (size_t)own_len), (size_t)own_len);
    read_copy(&r, c->maker.byte, PUBLIC_KEY_BYTES);
    if (r.bad || r.left != SIGNATURE_BYTES + HASH_BYTES)
        return ERR_CORRUPT;
    crypto->hash(&c->state, part, (size_t)state_len);
    return crypto->verify(r.at, &c->state, &c->maker) ? ERR_OK : ERR_CORRUPT;
}

static enum err decode(struct core *core, struct reader *state, struct reader *own)
{
    enum err err = core_decode_state(core, state);

    if (err == ERR_OK)
        err = core_decode_own(core, own);
    if (err == ERR_OK && (!reader_done(state) || !reader_done(own)))
        err = ERR_MALFORMED;
    return err == ERR_MALFORMED ? ERR_CORRUPT : err;
}

enum err checkpoint_load(struct disk *disk, uint64_t number, const struct crypto *crypto,
                         struct core *core, struct checkpoint *checkpoint)
{
    char name[DISK_NAME_MAX + 1];
    struct reader state, own;
    uint8_t *bytes;
    size_t len;
    enum err err;

    *checkpoint = (struct checkpoint){.number = number};
    checkpoint_name(number, name);
    err = read_file(disk, name, &bytes, &len);
    if (err == ERR_OK)
        err = check(bytes, len, crypto, checkpoint, &state, &own);
    if (err == ERR_OK && core != NULL)
        err = decode(core, &state, &own);
    if (err == ERR_OK && core != NULL)
        err = core_own_of(core, &checkpoint->maker);
    free(bytes);
    if (err == ERR_CORRUPT)
        log_alarm("%s: damaged: its hash or its signature does not fit", name);
    else if (err == ERR_VERSION)
        log_error("%s was written by a newer version: run that version", name);
    return err;
}

/* ---- for other nodes ---- */

bool checkpoint_sealed(const struct crypto *crypto, const uint8_t *state, size_t len,
                       const struct checkpoint_seal *seal, struct hash *hash)
{
    crypto->hash(hash, state, len);
    return crypto->verify(seal->signature, hash, &seal->maker);
}

static enum err read_exactly(const struct checkpoint_source *s, uint64_t offset, void *to,
                             size_t len)
{
    size_t got;
    enum err err = s->disk->ops->read(s->file, offset, to, len, &got);

    return err == ERR_OK && got < len ? ERR_CORRUPT : err;
}

static enum err source_read_head(struct checkpoint_source *s)
{
    uint8_t header[HEADER], seal[PUBLIC_KEY_BYTES + SIGNATURE_BYTES];
    struct reader r = reader_of(header, sizeof header);
    uint64_t own, size;
    enum err err = s->disk->ops->size(s->file, &size);

    if (err == ERR_OK)
        err = read_exactly(s, 0, header, sizeof header);
    if (err != ERR_OK)
        return err;
    if (memcmp(read_bytes(&r, sizeof checkpoint_magic), checkpoint_magic,
               sizeof checkpoint_magic) != 0)
        return ERR_CORRUPT;
    if (read_u32(&r) > CHECKPOINT_FORMAT)
        return ERR_VERSION;
    read_u32(&r);
    s->lsn = read_u64(&r);
    read_u64(&r);
    s->bytes = read_u64(&r);
    own = read_u64(&r);
    if (size > size_max || s->bytes > size || own > size ||
        HEADER + s->bytes + own + TRAILER != size)
        return ERR_CORRUPT;
    err = read_exactly(s, HEADER + s->bytes + own, seal, sizeof seal);
    r = reader_of(seal, sizeof seal);
    read_copy(&r, s->seal.maker.byte, PUBLIC_KEY_BYTES);
    read_copy(&r, s->seal.signature, SIGNATURE_BYTES);
    return err;
}

enum err checkpoint_source_open(struct disk *disk, uint64_t number,
                                struct checkpoint_source *source)
{
    char name[DISK_NAME_MAX + 1];
    enum err err;

    *source = (struct checkpoint_source){.disk = disk, .number = number};
    checkpoint_name(number, name);
    err = disk->ops->open(disk, name, &source->file);
    if (err != ERR_OK)
        return err;
    err = source_read_head(source);
    if (err != ERR_OK)
        checkpoint_source_close(source);
    return err;
}

enum err checkpoint_source_read(const struct checkpoint_source *source, uint64_t offset,
                                void *to, size_t len)
{
    assert(offset <= source->bytes && len <= source->bytes - offset);
    return read_exactly(source, HEADER + offset, to, len);
}

void checkpoint_source_close(struct checkpoint_source *source)
{
    if (source->file != NULL)
        source->disk->ops->close(source->file);
    *source = (struct checkpoint_source){0};
}

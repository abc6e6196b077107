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

/* ---- making ---- */

struct checkpoint_draft {
    struct core_snapshot *snapshot; /* NULL: all is encoded */
    struct wal_mark mark;
    uint64_t number;
    const struct crypto *crypto;
    const struct key_pair *key;
    struct writer w; /* its bytes are the draft's */
    size_t state;    /* bytes of the state; 0: it is being encoded */
};

enum err checkpoint_draft_new(struct core *core, const struct wal_mark *mark,
                              uint64_t number, const struct crypto *crypto,
                              const struct key_pair *key, struct checkpoint_draft **draft)
{
    size_t max = HEADER + core_encoded_max(core) + TRAILER;
    struct checkpoint_draft *d = malloc(sizeof *d);
    enum err err;

    if (d == NULL)
        return ERR_MEMORY;
    *d = (struct checkpoint_draft){
        .mark = *mark, .number = number, .crypto = crypto, .key = key};
    d->w = writer_of(malloc(max), max);
    d->w.len = HEADER;
    err = d->w.start != NULL ? core_snapshot_new(core, &d->snapshot) : ERR_MEMORY;
    if (err == ERR_OK)
        *draft = d;
    else
        checkpoint_draft_free(d);
    return err;
}

void checkpoint_draft_free(struct checkpoint_draft *d)
{
    if (d->snapshot != NULL)
        core_snapshot_free(d->snapshot);
    free(d->w.start);
    free(d);
}

/* What stands around the two parts, but for what is hashed. */
static void frame(struct checkpoint_draft *d)
{
    struct writer header = writer_of(d->w.start, HEADER);

    put_header(&header, &d->mark, d->state, d->w.len - HEADER - d->state);
    write_bytes(&d->w, d->key->public.byte, PUBLIC_KEY_BYTES);
}

/* Hashing some 50 bytes per counter twice, and reading what was just written, would keep callers waiting. */
static void complete(void *arg)
{
    struct checkpoint_draft *d = arg;
    uint8_t signature[SIGNATURE_BYTES];
    struct hash hash;

    d->crypto->hash(&hash, d->w.start + HEADER, d->state);
    d->crypto->sign(signature, &hash, d->key);
    write_bytes(&d->w, signature, sizeof signature);
    d->crypto->hash(&hash, d->w.start, d->w.len);
    write_bytes(&d->w, hash.byte, sizeof hash.byte);
    assert(!d->w.full);
}

enum err checkpoint_draft_step(struct checkpoint_draft *d, size_t items,
                               struct disk_make *make)
{
    size_t len;

    if (d->state == 0) {
        if (core_snapshot_state(d->snapshot, &d->w, items))
            d->state = d->w.len - HEADER;
        return d->w.full ? ERR_MEMORY : ERR_AGAIN;
    }
    if (!core_snapshot_own(d->snapshot, &d->w, items))
        return d->w.full ? ERR_MEMORY : ERR_AGAIN;
    core_snapshot_free(d->snapshot);
    d->snapshot = NULL;
    frame(d);
    if (d->w.full)
        return ERR_MEMORY;
    len = d->w.len + SIGNATURE_BYTES + HASH_BYTES;
    *make = (struct disk_make){
        .bytes = d->w.start, .len = len, .size = len, .complete = complete, .arg = d};
    checkpoint_name(d->number, make->name);
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

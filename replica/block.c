#include "replica/block.h"

#include <assert.h>
#include <string.h>

#include "replica/component.h"

int64_t op_amount(const struct op *op)
{
    return op->kind == OP_ADD ? op->value : 0;
}

static void put_id(struct writer *w, const struct id *id)
{
    write_bytes(w, id->byte, sizeof id->byte);
}

static void put_origin(struct writer *w, const struct block_origin *origin)
{
    put_id(w, &origin->cluster);
    write_bytes(w, origin->key.byte, sizeof origin->key.byte);
    write_u8(w, origin->name_len);
    write_bytes(w, origin->name, origin->name_len);
    put_id(w, &origin->before.position.stream);
    write_varint(w, origin->before.position.number);
    write_bytes(w, origin->before.hash.byte, sizeof origin->before.hash.byte);
    write_u8(w, origin->provisional);
}

void block_put_head(struct writer *w, const struct block *head)
{
    assert(head->number > 0);
    write_u8(w, BLOCK_FORMAT);
    put_id(w, &head->stream);
    write_varint(w, head->number);
    write_bytes(w, head->previous.byte, sizeof head->previous.byte);
    write_varint(w, head->stamp_ms);
    if (head->number == 1)
        put_origin(w, &head->origin);
    write_varint(w, head->groups);
}

void block_put_group(struct writer *w, uint8_t component, const char *key,
                     uint8_t key_len, int64_t before, uint64_t ops)
{
    write_u8(w, component);
    write_u8(w, key_len);
    write_bytes(w, key, key_len);
    write_svarint(w, before);
    write_varint(w, ops);
}

void block_put_op(struct writer *w, uint8_t kind, const struct id *id, int64_t value,
                  const char *text, uint8_t text_len)
{
    write_u8(w, kind);
    put_id(w, id);
    write_svarint(w, value);
    write_u8(w, text_len);
    write_bytes(w, text, text_len);
}

static void chain_hash(const struct crypto *crypto, const struct hash *digest,
                       const uint8_t *signature, struct hash *hash)
{
    uint8_t bytes[HASH_BYTES + SIGNATURE_BYTES];

    memcpy(bytes, digest->byte, HASH_BYTES);
    memcpy(bytes + HASH_BYTES, signature, SIGNATURE_BYTES);
    crypto->hash(hash, bytes, sizeof bytes);
}

void block_seal(struct writer *w, const struct crypto *crypto, const struct key_pair *key,
                struct hash *hash)
{
    uint8_t signature[SIGNATURE_BYTES];

    assert(!w->full);
    crypto->hash(hash, w->start, w->len);
    crypto->sign(signature, hash, key);
    write_bytes(w, signature, sizeof signature);
    chain_hash(crypto, hash, signature, hash);
}

static void get_id(struct reader *r, struct id *id)
{
    read_copy(r, id->byte, sizeof id->byte);
}

static void get_origin(struct reader *r, struct block_origin *origin)
{
    get_id(r, &origin->cluster);
    read_copy(r, origin->key.byte, sizeof origin->key.byte);
    origin->name_len = read_u8(r);
    if (origin->name_len > NODE_NAME_MAX) {
        r->bad = true;
        return;
    }
    read_copy(r, origin->name, origin->name_len);
    get_id(r, &origin->before.position.stream);
    origin->before.position.number = read_varint(r);
    read_copy(r, origin->before.hash.byte, sizeof origin->before.hash.byte);
    origin->provisional = read_bool(r);
}

struct block_cursor block_ops(const struct block *block)
{
    return (struct block_cursor){.reader = reader_of(block->ops, block->ops_len),
                                 .groups = block->groups};
}

static void next_group(struct block_cursor *c)
{
    struct reader *r = &c->reader;

    c->op.component = read_u8(r);
    c->op.key_len = read_u8(r);
    c->op.key = (const char *)read_bytes(r, c->op.key_len);
    c->op.before = read_svarint(r);
    c->op.value = 0;
    c->op.kind = OP_ADD;
    c->ops = read_varint(r);
    c->groups--;
    if (c->ops == 0) /* An empty group would be a second encoding of the same block. */
        r->bad = true;
}

bool block_next_op(struct block_cursor *c, struct op *op)
{
    struct reader *r = &c->reader;

    if (c->ops == 0 && c->groups > 0 && !r->bad)
        next_group(c);
    if (c->ops == 0 || r->bad)
        return false;
    c->ops--;
    /* Unsigned, for a block's numbers are not to be trusted before it is looked at. */
    c->op.before = (int64_t)((uint64_t)c->op.before + (uint64_t)op_amount(&c->op));
    c->op.kind = read_u8(r);
    get_id(r, &c->op.id);
    c->op.value = read_svarint(r);
    c->op.text_len = read_u8(r);
    c->op.text = (const char *)read_bytes(r, c->op.text_len);
    *op = c->op;
    return !r->bad;
}

/* Every op must be one that this version can apply: what is stored is applied, here and at
 * every recovery. */
static enum err check_ops(const struct block *block)
{
    struct block_cursor c = block_ops(block);
    const struct component *component;
    enum err err;
    struct op op;

    while (block_next_op(&c, &op)) {
        component = component_by_number(op.component);
        if (component == NULL)
            return ERR_VERSION;
        err = component->check(&op);
        if (err != ERR_OK)
            return err;
    }
    return c.groups == 0 && c.ops == 0 && reader_done(&c.reader) ? ERR_OK : ERR_MALFORMED;
}

static bool is_format(uint8_t format)
{
    return format >= BLOCK_FORMAT_SIGNED_APART && format <= BLOCK_FORMAT;
}

bool block_peek(const uint8_t *bytes, size_t len, struct position *position)
{
    struct reader r = reader_of(bytes, len);
    uint8_t format = read_u8(&r);

    get_id(&r, &position->stream);
    position->number = read_varint(&r);
    return !r.bad && is_format(format);
}

enum err block_decode(const uint8_t *bytes, size_t len, const struct crypto *crypto,
                      struct block *block)
{
    static const struct hash none;
    struct reader r;

    if (len > BLOCK_MAX)
        return ERR_TOO_LONG;
    if (len < SIGNATURE_BYTES + 1)
        return ERR_MALFORMED;
    if (!is_format(bytes[0]))
        return bytes[0] > BLOCK_FORMAT ? ERR_VERSION : ERR_MALFORMED;
    memset(block, 0, sizeof *block);
    block->format = bytes[0];
    r = reader_of(bytes + 1, len - 1 - SIGNATURE_BYTES);
    get_id(&r, &block->stream);
    block->number = read_varint(&r);
    read_copy(&r, block->previous.byte, sizeof block->previous.byte);
    block->stamp_ms = read_varint(&r);
    if (block->number == 1)
        get_origin(&r, &block->origin);
    block->groups = read_varint(&r);
    if (r.bad || block->number == 0 ||
        (block->number == 1 && !hash_equal(&block->previous, &none)))
        return ERR_MALFORMED;
    block->ops = r.at;
    block->ops_len = r.left;
    block->signature = bytes + len - SIGNATURE_BYTES;
    crypto->hash(&block->digest, bytes, len - SIGNATURE_BYTES);
    if (block->format == BLOCK_FORMAT_SIGNED_APART)
        block->hash = block->digest;
    else
        chain_hash(crypto, &block->digest, block->signature, &block->hash);
    return check_ops(block);
}

bool block_signed(const struct block *block, const struct crypto *crypto,
                  const struct public_key *key)
{
    return crypto->verify(block->signature, &block->digest, key);
}

bool block_covered(const struct block *block, const struct block *next)
{
    return block->format > BLOCK_FORMAT_SIGNED_APART &&
           id_equal(&block->stream, &next->stream) && next->number == block->number + 1 &&
           hash_equal(&next->previous, &block->hash);
}

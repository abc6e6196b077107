#include "common/msg.h"

#include <string.h>

const char *status_name(enum status status)
{
    switch (status) {
    case STATUS_FINAL:
        return "FINAL";
    case STATUS_PROVISIONAL:
        return "PROVISIONAL";
    case STATUS_UNAVAILABLE:
        return "UNAVAILABLE";
    case STATUS_UNKNOWN:
        return "UNKNOWN";
    case STATUS_DENIED:
        return "DENIED";
    case STATUS_ERROR:
        break;
    }
    return "ERROR";
}

static void put_id(struct writer *w, const struct id *id)
{
    write_bytes(w, id->byte, sizeof id->byte);
}

static void put_position(struct writer *w, const struct position *position)
{
    put_id(w, &position->stream);
    write_u64(w, position->number);
}

void msg_begin(struct writer *w, enum msg_type type)
{
    write_u16(w, (uint16_t)type);
    write_u16(w, 0);
}

void msg_end(struct writer *w, unsigned items)
{
    struct writer count = writer_of(w->start + 2, 2);

    assert(items <= MSG_ITEMS_MAX && w->len >= MSG_HEADER_SIZE);
    write_u16(&count, (uint16_t)items);
}

void msg_put_hello(struct writer *w)
{
    write_u16(w, MSG_VERSION);
}

void msg_put_welcome(struct writer *w, const struct position *position)
{
    write_u16(w, MSG_VERSION);
    put_position(w, position);
}

void msg_put_position(struct writer *w, const struct position *position)
{
    put_position(w, position);
}

void msg_put_count_req(struct writer *w, const struct msg_count_req *req)
{
    assert(req->name_len <= NAME_MAX_BYTES && req->tag_len <= TAG_MAX_BYTES);
    put_id(w, &req->id);
    put_position(w, &req->heard);
    write_u32(w, (uint32_t)req->amount);
    write_u8(w, req->name_len);
    write_u8(w, req->tag_len);
    write_bytes(w, req->name, req->name_len);
    write_bytes(w, req->tag, req->tag_len);
}

void msg_put_count_rep(struct writer *w, const struct msg_count_rep *rep)
{
    put_id(w, &rep->id);
    write_u64(w, (uint64_t)rep->number);
    write_u64(w, (uint64_t)rep->total);
    write_u8(w, (uint8_t)rep->status);
}

void msg_put_get_req(struct writer *w, const struct msg_get_req *req)
{
    assert(req->name_len <= NAME_MAX_BYTES);
    put_id(w, &req->id);
    write_u8(w, req->name_len);
    write_bytes(w, req->name, req->name_len);
}

void msg_put_get_rep(struct writer *w, const struct msg_get_rep *rep)
{
    put_id(w, &rep->id);
    write_u64(w, (uint64_t)rep->total);
    write_u8(w, (uint8_t)rep->status);
}

enum err msg_read_header(struct reader *r, enum msg_type *type, unsigned *items)
{
    unsigned number = read_u16(r);

    *items = read_u16(r);
    if (r->bad || *items > MSG_ITEMS_MAX)
        return ERR_MALFORMED;
    switch (number) {
#define MSG_KNOWN(name, known, size) case known:
        MSG_TYPES(MSG_KNOWN)
        *type = (enum msg_type)number;
        return ERR_OK;
    default:
        return ERR_MALFORMED;
    }
}

static void get_id(struct reader *r, struct id *id)
{
    read_copy(r, id->byte, sizeof id->byte);
}

static void get_position(struct reader *r, struct position *position)
{
    get_id(r, &position->stream);
    position->number = read_u64(r);
}

static enum err reader_err(const struct reader *r)
{
    return r->bad ? ERR_MALFORMED : ERR_OK;
}

static enum err get_version(struct reader *r)
{
    unsigned version = read_u16(r);

    if (r->bad)
        return ERR_MALFORMED;
    return version == MSG_VERSION ? ERR_OK : ERR_VERSION;
}

static enum status get_status(struct reader *r)
{
    uint8_t status = read_u8(r);

    if (status < STATUS_FINAL || status > STATUS_ERROR) {
        r->bad = true;
        return STATUS_ERROR;
    }
    return (enum status)status;
}

static uint8_t get_length(struct reader *r, uint8_t limit)
{
    uint8_t len = read_u8(r);

    if (len > limit) {
        r->bad = true;
        return 0;
    }
    return len;
}

enum err msg_read_hello(struct reader *r)
{
    return get_version(r);
}

enum err msg_read_welcome(struct reader *r, struct position *position)
{
    enum err err = get_version(r);

    if (err != ERR_OK)
        return err;
    get_position(r, position);
    return reader_err(r);
}

enum err msg_read_position(struct reader *r, struct position *position)
{
    get_position(r, position);
    return reader_err(r);
}

enum err msg_read_count_req(struct reader *r, struct msg_count_req *req)
{
    get_id(r, &req->id);
    get_position(r, &req->heard);
    req->amount = (int32_t)read_u32(r);
    req->name_len = get_length(r, NAME_MAX_BYTES);
    req->tag_len = get_length(r, TAG_MAX_BYTES);
    read_copy(r, req->name, req->name_len);
    read_copy(r, req->tag, req->tag_len);
    return reader_err(r);
}

enum err msg_read_count_rep(struct reader *r, struct msg_count_rep *rep)
{
    get_id(r, &rep->id);
    rep->number = (int64_t)read_u64(r);
    rep->total = (int64_t)read_u64(r);
    rep->status = get_status(r);
    return reader_err(r);
}

enum err msg_read_get_req(struct reader *r, struct msg_get_req *req)
{
    get_id(r, &req->id);
    req->name_len = get_length(r, NAME_MAX_BYTES);
    read_copy(r, req->name, req->name_len);
    return reader_err(r);
}

enum err msg_read_get_rep(struct reader *r, struct msg_get_rep *rep)
{
    get_id(r, &rep->id);
    rep->total = (int64_t)read_u64(r);
    rep->status = get_status(r);
    return reader_err(r);
}

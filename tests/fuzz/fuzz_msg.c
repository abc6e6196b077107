/* tests/fuzz/fuzz_msg.c: any bytes as a message between a worker and the state process. Items that
 * are taken have one encoding: written again they are the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err copy_item(struct reader *r, struct writer *w, enum msg_type type)
{
    struct position position;
    struct msg_count_req count_req;
    struct msg_count_rep count_rep;
    struct msg_get_req get_req;
    struct msg_get_rep get_rep;
    enum err err = ERR_MALFORMED;

    switch (type) {
    case MSG_HELLO:
        if ((err = msg_read_hello(r)) == ERR_OK)
            msg_put_hello(w);
        break;
    case MSG_WELCOME:
        if ((err = msg_read_welcome(r, &position)) == ERR_OK)
            msg_put_welcome(w, &position);
        break;
    case MSG_COUNT_REQ:
        if ((err = msg_read_count_req(r, &count_req)) == ERR_OK)
            msg_put_count_req(w, &count_req);
        break;
    case MSG_COUNT_REP:
        if ((err = msg_read_count_rep(r, &count_rep)) == ERR_OK)
            msg_put_count_rep(w, &count_rep);
        break;
    case MSG_GET_REQ:
        if ((err = msg_read_get_req(r, &get_req)) == ERR_OK)
            msg_put_get_req(w, &get_req);
        break;
    case MSG_GET_REP:
        if ((err = msg_read_get_rep(r, &get_rep)) == ERR_OK)
            msg_put_get_rep(w, &get_rep);
        break;
    case MSG_POSITION:
        if ((err = msg_read_position(r, &position)) == ERR_OK)
            msg_put_position(w, &position);
        break;
    }
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t buf[MSG_MAX];
    struct reader r = reader_of(data, size);
    struct writer w = writer_of(buf, sizeof buf);
    enum msg_type type;
    unsigned items;

    if (msg_read_header(&r, &type, &items) != ERR_OK)
        return 0;
    msg_begin(&w, type);
    for (unsigned i = 0; i < items; i++)
        if (copy_item(&r, &w, type) != ERR_OK)
            return 0;
    msg_end(&w, items);
    if (reader_done(&r) && (w.full || w.len != size || memcmp(buf, data, size) != 0))
        abort();
    return 0;
}

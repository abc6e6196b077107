/* tests/unit/test_msg.c: what workers and the state process say to each other, byte for byte. */
#include <criterion/criterion.h>
#include <string.h>

#include "common/msg.h"

static const struct position place = {{{0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
                                        0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf}},
                                      0x0807060504030201};
#define PLACE                                                                           \
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, \
        0xae, 0xaf, 1, 2, 3, 4, 5, 6, 7, 8

static const struct id id = {{0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9,
                              0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf}};
#define ID                                                                              \
    0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, \
        0xce, 0xcf

static const struct msg_count_req count_req = {
    .id = {{0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcc,
            0xcd, 0xce, 0xcf}},
    .heard = {{{0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab,
                0xac, 0xad, 0xae, 0xaf}},
              0x0807060504030201},
    .amount = -2,
    .name_len = 4,
    .tag_len = 2,
    .name = "hits",
    .tag = "vi",
};
static const uint8_t count_req_bytes[] = {3,    0, 1, 0,   ID,  PLACE, 0xfe, 0xff, 0xff,
                                          0xff, 4, 2, 'h', 'i', 't',   's',  'v',  'i'};
static const uint8_t count_rep_bytes[] = {4,    0,    1,    0,    ID,   0x11, 0x10, 0,
                                          0,    0,    0,    0,    0,    0xff, 0xff, 0xff,
                                          0xff, 0xff, 0xff, 0xff, 0xff, 2};
static const uint8_t get_req_bytes[] = {5, 0, 1, 0, ID, 1, 'x'};
static const uint8_t get_rep_bytes[] = {6, 0, 1, 0, ID, 5, 0, 0, 0, 0, 0, 0, 0, 1};
static const uint8_t hello_bytes[] = {1, 0, 1, 0, 1, 0};
static const uint8_t welcome_bytes[] = {2, 0, 1, 0, 1, 0, PLACE};
static const uint8_t position_bytes[] = {7, 0, 1, 0, PLACE};

static uint8_t buf[MSG_MAX];

static enum err read_header(struct reader *r, enum msg_type type)
{
    enum msg_type found;
    unsigned items;
    enum err err = msg_read_header(r, &found, &items);

    if (err == ERR_OK) {
        cr_expect_eq(found, type);
        cr_expect_eq(items, 1);
    }
    return err;
}

/* Reads one item of each type; what is read goes to where the tests look. */
static struct position got_position;
static struct msg_count_req got_count_req;
static struct msg_count_rep got_count_rep;
static struct msg_get_req got_get_req;
static struct msg_get_rep got_get_rep;

static enum err read_item(struct reader *r, enum msg_type type)
{
    enum err err = read_header(r, type);

    if (err != ERR_OK)
        return err;
    switch (type) {
    case MSG_HELLO:
        return msg_read_hello(r);
    case MSG_WELCOME:
        return msg_read_welcome(r, &got_position);
    case MSG_COUNT_REQ:
        return msg_read_count_req(r, &got_count_req);
    case MSG_COUNT_REP:
        return msg_read_count_rep(r, &got_count_rep);
    case MSG_GET_REQ:
        return msg_read_get_req(r, &got_get_req);
    case MSG_GET_REP:
        return msg_read_get_rep(r, &got_get_rep);
    case MSG_POSITION:
        return msg_read_position(r, &got_position);
    }
    return ERR_MALFORMED;
}

static void write_item(struct writer *w, enum msg_type type)
{
    msg_begin(w, type);
    switch (type) {
    case MSG_HELLO:
        msg_put_hello(w);
        break;
    case MSG_WELCOME:
        msg_put_welcome(w, &place);
        break;
    case MSG_COUNT_REQ:
        msg_put_count_req(w, &count_req);
        break;
    case MSG_COUNT_REP:
        msg_put_count_rep(w, &(struct msg_count_rep){id, 0x1011, -1, STATUS_PROVISIONAL});
        break;
    case MSG_GET_REQ:
        msg_put_get_req(w, &(struct msg_get_req){.id = id, .name_len = 1, .name = "x"});
        break;
    case MSG_GET_REP:
        msg_put_get_rep(w, &(struct msg_get_rep){id, 5, STATUS_FINAL});
        break;
    case MSG_POSITION:
        msg_put_position(w, &place);
        break;
    }
    msg_end(w, 1);
}

static const struct {
    enum msg_type type;
    const uint8_t *bytes;
    size_t len, fixed; /* of the item */
} all[] = {
    {MSG_HELLO, hello_bytes, sizeof hello_bytes, MSG_HELLO_SIZE},
    {MSG_WELCOME, welcome_bytes, sizeof welcome_bytes, MSG_WELCOME_SIZE},
    {MSG_COUNT_REQ, count_req_bytes, sizeof count_req_bytes, MSG_COUNT_REQ_SIZE + 4 + 2},
    {MSG_COUNT_REP, count_rep_bytes, sizeof count_rep_bytes, MSG_COUNT_REP_SIZE},
    {MSG_GET_REQ, get_req_bytes, sizeof get_req_bytes, MSG_GET_REQ_SIZE + 1},
    {MSG_GET_REP, get_rep_bytes, sizeof get_rep_bytes, MSG_GET_REP_SIZE},
    {MSG_POSITION, position_bytes, sizeof position_bytes, MSG_POSITION_SIZE},
};
enum { ALL = sizeof all / sizeof all[0] };

Test(msg, the_bytes_are_those_of_version_1)
{
    cr_assert_eq(MSG_VERSION, 1, "another version has other bytes: write them down here");
    for (size_t i = 0; i < ALL; i++) {
        struct writer w = writer_of(buf, sizeof buf);

        write_item(&w, all[i].type);
        cr_expect_eq(w.len, all[i].len, "type %d", all[i].type);
        cr_expect_arr_eq(buf, all[i].bytes, all[i].len, "type %d", all[i].type);
        cr_expect_eq(w.len, MSG_HEADER_SIZE + all[i].fixed, "type %d", all[i].type);
    }
}

Test(msg, what_was_written_is_read_back)
{
    for (size_t i = 0; i < ALL; i++) {
        struct reader r = reader_of(all[i].bytes, all[i].len);

        cr_expect_eq(read_item(&r, all[i].type), ERR_OK);
        cr_expect(reader_done(&r));
    }
    cr_expect(id_equal(&got_position.stream, &place.stream));
    cr_expect_eq(got_position.number, place.number);
    cr_expect(id_equal(&got_count_req.id, &id));
    cr_expect(id_equal(&got_count_req.heard.stream, &place.stream));
    cr_expect_eq(got_count_req.heard.number, place.number);
    cr_expect_eq(got_count_req.amount, -2);
    cr_expect_eq(got_count_req.name_len, 4);
    cr_expect_arr_eq(got_count_req.name, "hits", 4);
    cr_expect_eq(got_count_req.tag_len, 2);
    cr_expect_arr_eq(got_count_req.tag, "vi", 2);
    cr_expect(id_equal(&got_count_rep.id, &id));
    cr_expect_eq(got_count_rep.number, 0x1011);
    cr_expect_eq(got_count_rep.total, -1);
    cr_expect_eq(got_count_rep.status, STATUS_PROVISIONAL);
    cr_expect_eq(got_get_req.name_len, 1);
    cr_expect_eq(got_get_req.name[0], 'x');
    cr_expect_eq(got_get_rep.total, 5);
    cr_expect_eq(got_get_rep.status, STATUS_FINAL);
}

Test(msg, a_message_cut_anywhere_is_malformed)
{
    for (size_t i = 0; i < ALL; i++) {
        for (size_t len = 0; len < all[i].len; len++) {
            struct reader r = reader_of(all[i].bytes, len);

            cr_expect_eq(read_item(&r, all[i].type), ERR_MALFORMED, "type %d at %zu",
                         all[i].type, len);
        }
    }
}

Test(msg, another_version_is_refused_as_such)
{
    static const uint8_t newer[MSG_HEADER_SIZE + MSG_WELCOME_SIZE] = {2, 0, 1, 0, 2, 0};
    struct reader r = reader_of(newer, sizeof newer);

    cr_expect_eq(read_item(&r, MSG_WELCOME), ERR_VERSION);
    r = reader_of((const uint8_t[]){1, 0, 1, 0, 0, 1}, 6);
    cr_expect_eq(read_item(&r, MSG_HELLO), ERR_VERSION);
}

Test(msg, a_type_that_is_none_is_malformed)
{
    for (unsigned type = 0; type <= UINT16_MAX; type++) {
        const uint8_t header[] = {(uint8_t)type, (uint8_t)(type >> 8), 0, 0};
        struct reader r = reader_of(header, sizeof header);
        enum msg_type found;
        unsigned items;
        bool known = type >= MSG_HELLO && type <= MSG_POSITION;

        cr_expect_eq(msg_read_header(&r, &found, &items), known ? ERR_OK : ERR_MALFORMED);
    }
}

Test(msg, more_items_than_the_limit_are_malformed)
{
    uint8_t header[] = {3, 0, MSG_ITEMS_MAX & 0xff, MSG_ITEMS_MAX >> 8};
    struct reader r = reader_of(header, sizeof header);
    enum msg_type type;
    unsigned items;

    cr_expect_eq(msg_read_header(&r, &type, &items), ERR_OK);
    cr_expect_eq(items, MSG_ITEMS_MAX);
    header[2]++;
    r = reader_of(header, sizeof header);
    cr_expect_eq(msg_read_header(&r, &type, &items), ERR_MALFORMED);
}

Test(msg, a_length_above_its_limit_is_malformed_even_where_the_bytes_are_there)
{
    static const size_t at[] = {MSG_COUNT_REQ_SIZE - 2, MSG_COUNT_REQ_SIZE - 1};

    for (size_t i = 0; i < 2; i++) {
        uint8_t item[512] = {0};
        struct reader r;

        item[at[i]] = 64;
        r = reader_of(item, sizeof item);
        cr_expect_eq(msg_read_count_req(&r, &got_count_req), ERR_OK);
        item[at[i]] = 65;
        r = reader_of(item, sizeof item);
        cr_expect_eq(msg_read_count_req(&r, &got_count_req), ERR_MALFORMED);
    }
    {
        uint8_t item[512] = {[MSG_GET_REQ_SIZE - 1] = 65};
        struct reader r = reader_of(item, sizeof item);

        cr_expect_eq(msg_read_get_req(&r, &got_get_req), ERR_MALFORMED);
    }
}

Test(msg, a_status_that_is_none_is_malformed)
{
    for (unsigned status = 0; status < 256; status++) {
        const uint8_t rep[MSG_COUNT_REP_SIZE] = {[32] = (uint8_t)status};
        struct reader r = reader_of(rep, sizeof rep);
        enum err expected = status >= 1 && status <= 6 ? ERR_OK : ERR_MALFORMED;

        cr_expect_eq(msg_read_count_rep(&r, &got_count_rep), expected);
        r = reader_of(rep + 8, MSG_GET_REP_SIZE);
        cr_expect_eq(msg_read_get_rep(&r, &got_get_rep), expected);
    }
}

Test(msg, the_largest_message_holds_the_most_items_of_the_largest_size)
{
    struct msg_count_req req = count_req;
    struct writer w = writer_of(buf, sizeof buf);
    struct reader r;
    enum msg_type type;
    unsigned items;

    req.name_len = NAME_MAX_BYTES;
    req.tag_len = TAG_MAX_BYTES;
    msg_begin(&w, MSG_COUNT_REQ);
    for (unsigned i = 0; i < MSG_ITEMS_MAX; i++)
        msg_put_count_req(&w, &req);
    msg_end(&w, MSG_ITEMS_MAX);
    cr_expect_not(w.full);
    cr_expect_eq(w.len, MSG_MAX);
    r = reader_of(buf, w.len);
    cr_expect_eq(msg_read_header(&r, &type, &items), ERR_OK);
    for (unsigned i = 0; i < items; i++)
        cr_assert_eq(msg_read_count_req(&r, &got_count_req), ERR_OK);
    cr_expect(reader_done(&r));
}

Test(msg, statuses_have_the_names_that_dialplans_read)
{
    static const char *const names[] = {"ERROR",   "FINAL",  "PROVISIONAL", "UNAVAILABLE",
                                        "UNKNOWN", "DENIED", "ERROR",       "ERROR"};

    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        cr_expect_str_eq(status_name((enum status)i), names[i]);
        cr_expect_eq(status_has_number(i), i == 1 || i == 2);
    }
}

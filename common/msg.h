/* common/msg.h: what crosses the IPC between a worker and the state process.
 * A message is a u16 type, a u16 count of items, then the items. Integers are little-endian, and
 * sizes, in bytes, are an item's fixed part. msg.c encodes field by field, so that no compiler's
 * padding reaches the wire.
 *   HELLO      worker to state, once per connection: u16 MSG_VERSION
 *   WELCOME    state to worker, the answer: u16 MSG_VERSION, position {stream [16], u64 number}
 *   COUNT_REQ  worker to state: id [16], last heard {stream [16], u64 number}, i32 amount,
 *              u8 name length, u8 tag length; then name and tag
 *   COUNT_REP  state to worker, once durable: id [16], i64 number, i64 total, u8 status
 *   GET_REQ    worker to state: id [16], u8 name length; then name
 *   GET_REP    state to worker: id [16], i64 total, u8 status
 *   POSITION   state to worker, ahead of the COUNT_REPs it covers: position {stream [16], u64}
 * What travels as one frame (common/frames.h) is one of these, or several back to back.
 * Any change bumps MSG_VERSION, and another version is refused: both ends are one installation.
 * A number is never given out twice, even when retired. */
#ifndef COMMON_MSG_H
#define COMMON_MSG_H
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "common/byte.h"
#include "common/err.h"
#include "common/id.h"
#include "common/name.h"

#define MSG_TYPES(X)    \
    X(HELLO, 1, 2)      \
    X(WELCOME, 2, 26)   \
    X(COUNT_REQ, 3, 46) \
    X(COUNT_REP, 4, 33) \
    X(GET_REQ, 5, 17)   \
    X(GET_REP, 6, 25)   \
    X(POSITION, 7, 24)
#define MSG_NUMBER(name, number, size) MSG_##name = number,
#define MSG_SIZE(name, number, size)   MSG_##name##_SIZE = size,
enum msg_type { MSG_TYPES(MSG_NUMBER) };
enum { MSG_VERSION = 1, MSG_TYPES(MSG_SIZE) };
static_assert(MSG_COUNT_REQ_SIZE == 16 + 16 + 8 + 4 + 1 + 1, "the sum of its fields");
static_assert(MSG_COUNT_REP_SIZE == 16 + 8 + 8 + 1, "the sum of its fields");

enum {
    MSG_HEADER_SIZE = 4,
    MSG_ITEMS_MAX = 4096,
    MSG_ITEM_MAX = MSG_COUNT_REQ_SIZE + NAME_MAX_BYTES + TAG_MAX_BYTES,
    /* The largest message, in bytes; nothing longer is received. */
    MSG_MAX = MSG_HEADER_SIZE + MSG_ITEMS_MAX * MSG_ITEM_MAX,
};

/* What is known of a number. The words for people and dialplans are status_name()'s. */
enum status {
    STATUS_FINAL = 1,   /* one order for the whole cluster */
    STATUS_PROVISIONAL, /* this node's view */
    STATUS_UNAVAILABLE, /* not counted, and not now: the disk is full, or the node is not ready */
    STATUS_UNKNOWN, /* sent, and it cannot be told whether it was counted */
    STATUS_DENIED,  /* not counted: a limit of this node forbids it */
    STATUS_ERROR,   /* not counted: the request makes no sense; the log says why */
};

/* "FINAL" and so on, as TALLY_STATUS has it. Static; "ERROR" for a number that is no status. */
const char *status_name(enum status status);

/* Whether a number or a total comes with it. */
#define status_has_number(s) ((s) == STATUS_FINAL || (s) == STATUS_PROVISIONAL)

struct msg_count_req {
    struct id id;
    struct position heard;
    int32_t amount;
    uint8_t name_len, tag_len;
    char name[NAME_MAX_BYTES];
    char tag[TAG_MAX_BYTES];
};

struct msg_count_rep {
    struct id id;
    int64_t number, total;
    enum status status;
};

struct msg_get_req {
    struct id id;
    uint8_t name_len;
    char name[NAME_MAX_BYTES];
};

struct msg_get_rep {
    struct id id;
    int64_t total;
    enum status status;
};

/* Writing: msg_begin(), the items of that type, msg_end(). The writer's buffer is the caller's;
 * MSG_MAX bytes always hold MSG_ITEMS_MAX items. */
void msg_begin(struct writer *w, enum msg_type type);
void msg_put_hello(struct writer *w);
void msg_put_welcome(struct writer *w, const struct position *position);
void msg_put_position(struct writer *w, const struct position *position);
void msg_put_count_req(struct writer *w, const struct msg_count_req *req);
void msg_put_count_rep(struct writer *w, const struct msg_count_rep *rep);
void msg_put_get_req(struct writer *w, const struct msg_get_req *req);
void msg_put_get_rep(struct writer *w, const struct msg_get_rep *rep);
/* Sets the count of items in the header, which stands at the writer's start. */
void msg_end(struct writer *w, unsigned items);

/* Reading: the header, then exactly *items items of that type; reader_done() afterwards says
 * whether nothing stood behind them.
 * Errors: ERR_MALFORMED  no header, no such type, or more than MSG_ITEMS_MAX items. */
enum err msg_read_header(struct reader *r, enum msg_type *type, unsigned *items);
/* Each: ERR_MALFORMED where bytes are missing, a length is above its limit, or a status is none;
 * msg_read_hello and _welcome: ERR_VERSION where the other end is of another version. Whether
 * a name is valid is asked by the state process, which answers STATUS_ERROR. */
enum err msg_read_hello(struct reader *r);
enum err msg_read_welcome(struct reader *r, struct position *position);
enum err msg_read_position(struct reader *r, struct position *position);
enum err msg_read_count_req(struct reader *r, struct msg_count_req *req);
enum err msg_read_count_rep(struct reader *r, struct msg_count_rep *rep);
enum err msg_read_get_req(struct reader *r, struct msg_get_req *req);
enum err msg_read_get_rep(struct reader *r, struct msg_get_rep *rep);

#endif

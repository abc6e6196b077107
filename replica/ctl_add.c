/* replica/ctl_add.c: tallyctl add: a correction, which is a count like any other, asked for in the way that workers ask:
 * so it is durable, signed and in the log when it is answered, and asked twice with one id it counts once. */
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/dial.h"
#include "common/ipc.h"
#include "common/msg.h"
#include "common/name.h"
#include "replica/ctl.h"

enum { RESEND_MS = 1000 }; /* no answer for so long: ask again */

/* ---- what is asked ---- */

static bool read_amount(const char *text, int32_t *amount)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < INT32_MIN ||
        value > INT32_MAX || value == 0)
        return false;
    *amount = (int32_t)value;
    return true;
}

static bool read_id(const char *text, struct id *id)
{
    size_t len;

    if (text == NULL) {
        randombytes_buf(id, sizeof *id);
        return true;
    }
    return sodium_hex2bin(id->byte, sizeof id->byte, text, strlen(text), NULL, &len,
                          NULL) == 0 &&
           len == sizeof id->byte && strlen(text) == ID_HEX && !id_is_zero(id);
}

static enum ctl_exit read_words(const struct ctl *ctl, struct msg_count_req *req)
{
    const struct ctl_words *words = ctl->words;
    const char *name = words->arg[0], *reason = words->option[CTL_OPT_REASON];

    if (!name_valid(name, strlen(name)))
        return ctl_usage(
            "%.80s: expected a counter's name: 1 to 64 letters, digits and ._-", name);
    if (!read_amount(words->arg[1], &req->amount))
        return ctl_usage("%.80s: expected a number from %d to %d, and not 0",
                         words->arg[1], INT32_MIN, INT32_MAX);
    if (reason == NULL || *reason == '\0')
        return ctl_usage("a correction needs a --reason, which the log will hold");
    if (!tag_valid(reason, strlen(reason)))
        return ctl_usage("--reason: expected at most %d bytes without control characters",
                         TAG_MAX_BYTES);
    if (!read_id(words->option[CTL_OPT_ID], &req->id))
        return ctl_usage("--id: expected %d hexadecimal digits", ID_HEX);
    req->name_len = (uint8_t)strlen(name);
    memcpy(req->name, name, req->name_len);
    req->tag_len = (uint8_t)strlen(reason);
    memcpy(req->tag, reason, req->tag_len);
    return CTL_FINE;
}

/* ---- asking ---- */

struct asking {
    struct dial dial;
    const struct msg_count_req *req;
    bool welcome; /* position is what the state process said last */
    struct position position;
    bool answered;
    struct msg_count_rep rep;
    bool sent;             /* it may have been counted */
    struct position heard; /* when it was sent first: what every repeat says, too */
    bool other_version;
};

static enum err send_one(struct asking *a, bool count, uint64_t end_ms)
{
    uint8_t bytes[MSG_HEADER_SIZE + MSG_ITEM_MAX];
    struct writer w = writer_of(bytes, sizeof bytes);
    struct msg_count_req req = *a->req;
    enum err err;

    if (!a->sent)
        a->heard = a->position;
    req.heard = a->heard;
    msg_begin(&w, count ? MSG_COUNT_REQ : MSG_HELLO);
    if (count)
        msg_put_count_req(&w, &req);
    else
        msg_put_hello(&w);
    msg_end(&w, 1);
    err = dial_send(&a->dial, bytes, w.len, end_ms);
    /* Even of one that failed, all may have gone. */
    a->sent = a->sent || count;
    return err;
}

static void take_item(struct asking *a, enum msg_type type, struct reader *r)
{
    struct msg_count_rep rep;
    enum err err;

    switch (type) {
    case MSG_WELCOME:
        err = msg_read_welcome(r, &a->position);
        a->welcome = a->welcome || err == ERR_OK;
        a->other_version = err == ERR_VERSION;
        break;
    case MSG_POSITION:
        r->bad = msg_read_position(r, &a->position) != ERR_OK;
        break;
    case MSG_COUNT_REP:
        r->bad = msg_read_count_rep(r, &rep) != ERR_OK;
        if (r->bad || !id_equal(&rep.id, &a->req->id))
            break;
        a->answered = true;
        a->rep = rep;
        break;
    default:
        r->bad = true;
        break;
    }
}

static void take(struct asking *a, const void *bytes, size_t len)
{
    struct reader r = reader_of(bytes, len);
    enum msg_type type;
    unsigned items;

    while (r.left > 0 && !r.bad && msg_read_header(&r, &type, &items) == ERR_OK)
        for (unsigned i = 0; i < items && !r.bad; i++)
            take_item(a, type, &r);
}

/* Until a message has come, or no longer than that. */
static enum err take_answer(struct asking *a, uint64_t end_ms)
{
    const uint8_t *bytes;
    size_t len;
    enum err err = dial_receive(&a->dial, &bytes, &len, end_ms);

    if (err == ERR_OK)
        take(a, bytes, len);
    return err;
}

/* First who is there, then the count. Where no answer comes it is asked again: what the process could not keep for want of
 * memory is told to nobody. */
static enum err converse(struct asking *a, uint64_t end_ms)
{
    enum err err = dial_connect(&a->dial, end_ms);

    a->welcome = false;
    while (err == ERR_OK && !a->answered && !a->other_version) {
        uint64_t again_ms = clock_mono_ms() + RESEND_MS;
        bool known = a->welcome;

        err = send_one(a, known, end_ms);
        while (err == ERR_OK && !a->answered && !a->other_version && a->welcome == known)
            err = take_answer(a, again_ms < end_ms ? again_ms : end_ms);
        if (err == ERR_AGAIN && again_ms < end_ms)
            err = ERR_OK;
    }
    return err;
}

/* A state process that is started again meanwhile is asked again. */
static enum err ask(struct asking *a)
{
    uint64_t end_ms = clock_mono_ms() + CTL_REPLY_MS;
    enum err err = dial_init(&a->dial, IPC_WORKERS_PATH, MSG_MAX, MSG_MAX);

    if (err == ERR_OK) {
        do
            err = converse(a, end_ms);
        while (err == ERR_NOT_FOUND);
    }
    dial_free(&a->dial);
    return err;
}

/* ---- what came of it ---- */

static void print_json(const struct asking *a, const char *id)
{
    bool good = status_has_number(a->rep.status);
    json_t *json = json_pack(
        "{s:s%, s:I, s:s, s:s}", "name", a->req->name, (size_t)a->req->name_len, "amount",
        (json_int_t)a->req->amount, "id", id, "status", status_name(a->rep.status));

    if (good) {
        json_object_set_new(json, "number", json_integer(a->rep.number));
        json_object_set_new(json, "total", json_integer(a->rep.total));
    }
    ctl_print_json(json);
    json_decref(json);
}

static void explain(enum status status, const char *id)
{
    switch (status) {
    case STATUS_UNAVAILABLE:
        ctl_complain("nothing was counted: the node takes no counts now (tallyctl status "
                     "tells why)");
        break;
    case STATUS_UNKNOWN:
        ctl_complain("it cannot be told whether it was counted: tallyctl log shows, or "
                     "the same again with --id %s, which counts at most once",
                     id);
        break;
    case STATUS_DENIED:
        ctl_complain("nothing was counted: the total would pass 2^62, or there would be "
                     "more counters than tally.conf allows");
        break;
    default:
        ctl_complain("nothing was counted: the id was used for another count");
        break;
    }
}

static enum ctl_exit tell(const struct ctl *ctl, const struct asking *a)
{
    char id[ID_HEX + 1];

    id_format(&a->req->id, id);
    if (ctl->json)
        print_json(a, id);
    if (!status_has_number(a->rep.status)) {
        explain(a->rep.status, id);
        return CTL_NOT_FINE;
    }
    if (!ctl->json)
        printf("%.*s %+" PRId32 ": the total is now %" PRId64 " (%s), id %s\n",
               a->req->name_len, a->req->name, a->req->amount, a->rep.total,
               status_name(a->rep.status), id);
    return CTL_FINE;
}

enum ctl_exit ctl_add(struct ctl *ctl)
{
    struct msg_count_req req = {.amount = 0};
    struct asking asking = {.req = &req};
    enum ctl_exit code = read_words(ctl, &req);
    enum err err;

    if (code != CTL_FINE)
        return code;
    if (!ctl->node.running) {
        ctl_complain("the node does not run: only a running node counts");
        return CTL_UNREACHABLE;
    }
    err = ask(&asking);
    if (asking.answered)
        return tell(ctl, &asking);
    if (asking.sent) {
        asking.rep.status = STATUS_UNKNOWN;
        return tell(ctl, &asking);
    }
    if (asking.other_version)
        ctl_complain("the state process is of another version: start tallyd again");
    else
        ctl_complain("tallyd runs, but its state process does not answer: %s",
                     ctl_node_why(err));
    return CTL_UNREACHABLE;
}

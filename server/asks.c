#include "server/asks.h"

#include <stdlib.h>
#include <string.h>

/* Without memory uthash would end the process; here the table stays as it was and the
 * caller finds the item not to be in it. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

enum ask_kind { ASK_COUNT, ASK_GET, ASK_KINDS };

struct ask {
    enum ask_kind kind;
    bool sent;
    void *owner; /* NULL once forgotten */
    uint64_t given_up_ms;
    /* Where it stands: in the list of all, by age, which is also by given_up_ms; and in
     * its kind's queue or, while its message is under way, in the flight and the flight's
     * table. */
    struct ask *older, *younger;
    struct ask *prev, *next;
    UT_hash_handle hh;
    struct id id;
    union {
        struct msg_count_req count;
        struct msg_get_req get;
    };
};

struct asks {
    const struct asks_owner *to;
    unsigned answer_ms;
    size_t open;
    uint64_t resends;
    struct ask *by_age;
    struct ask *queue[ASK_KINDS];

    enum ask_kind flight_kind;
    struct ask *flight;       /* the message under way, in its order; NULL for none */
    struct ask *flight_by_id; /* the same, as a table */
    /* When the flight was sent, or when the last answer to a part of it came. */
    uint64_t progress_ms;
    uint64_t sent_ms;    /* when the last message was sent for the first time */
    unsigned sent_items; /* of that message */
    uint64_t hold_ms;    /* the next one gathers until then */

    bool connected;
    bool again; /* the flight is to be sent again at once: the connection is a new one */
    struct position heard;
};

struct asks *asks_new(unsigned answer_ms, const struct asks_owner *to)
{
    struct asks *asks = calloc(1, sizeof *asks);

    if (asks == NULL)
        return NULL;
    asks->answer_ms = answer_ms;
    asks->to = to;
    return asks;
}

void asks_free(struct asks *asks)
{
    struct ask *ask, *next;

    if (asks == NULL)
        return;
    HASH_CLEAR(hh, asks->flight_by_id);
    DL_FOREACH_SAFE2(asks->by_age, ask, next, younger)
    {
        free(ask);
    }
    free(asks);
}

static struct ask *ask_new(struct asks *asks, enum ask_kind kind, const struct id *id,
                           void *owner, uint64_t now_ms)
{
    struct ask *ask = calloc(1, sizeof *ask);

    if (ask == NULL)
        return NULL;
    ask->kind = kind;
    ask->id = *id;
    ask->owner = owner;
    ask->given_up_ms = now_ms + asks->answer_ms;
    DL_APPEND2(asks->by_age, ask, older, younger);
    DL_APPEND(asks->queue[kind], ask);
    asks->open++;
    return ask;
}

struct ask *asks_count(struct asks *asks, const struct msg_count_req *req, void *owner,
                       uint64_t now_ms)
{
    struct ask *ask = ask_new(asks, ASK_COUNT, &req->id, owner, now_ms);

    if (ask != NULL)
        ask->count = *req;
    return ask;
}

struct ask *asks_get(struct asks *asks, const struct msg_get_req *req, void *owner,
                     uint64_t now_ms)
{
    struct ask *ask = ask_new(asks, ASK_GET, &req->id, owner, now_ms);

    if (ask != NULL)
        ask->get = *req;
    return ask;
}

static bool in_flight(const struct ask *ask)
{
    return ask->hh.tbl != NULL;
}

/* Out of all lists, and freed. */
static void ask_remove(struct asks *asks, struct ask *ask)
{
    if (in_flight(ask)) {
        HASH_DELETE(hh, asks->flight_by_id, ask);
        DL_DELETE(asks->flight, ask);
    } else {
        DL_DELETE(asks->queue[ask->kind], ask);
    }
    DL_DELETE2(asks->by_age, ask, older, younger);
    asks->open--;
    free(ask);
}

void asks_forget(struct asks *asks, struct ask *ask)
{
    if (ask->kind == ASK_COUNT)
        ask->owner = NULL;
    else
        ask_remove(asks, ask);
}

/* The state process says where its log stands: what was under way is to be sent again. */
static void welcome(struct asks *asks, const struct position *heard)
{
    asks->connected = true;
    asks->heard = *heard;
    asks->again = asks->flight != NULL;
}

bool asks_connected(const struct asks *asks)
{
    return asks->connected;
}

void asks_disconnected(struct asks *asks)
{
    asks->connected = false;
}

/* Move what stands in the queue of a kind into an empty flight, up to a message full. Of
 * two with the same id the second stays: an answer names its id alone, and if they
 * differ, the second gets another answer than the first. */
static void flight_fill(struct asks *asks, enum ask_kind kind)
{
    struct ask *ask, *next;
    unsigned items = 0;

    asks->flight_kind = kind;
    DL_FOREACH_SAFE(asks->queue[kind], ask, next)
    {
        struct ask *same;

        if (items == MSG_ITEMS_MAX)
            break;
        HASH_FIND(hh, asks->flight_by_id, &ask->id, sizeof ask->id, same);
        if (same != NULL)
            continue;
        HASH_ADD(hh, asks->flight_by_id, id, sizeof ask->id, ask);
        if (!in_flight(ask))
            break; /* No memory: it waits for the next message. */
        DL_DELETE(asks->queue[kind], ask);
        DL_APPEND(asks->flight, ask);
        if (kind == ASK_COUNT)
            ask->count.heard = asks->heard;
        ask->sent = true;
        items++;
    }
}

static void flight_write(const struct asks *asks, struct writer *w)
{
    const struct ask *ask;
    unsigned items = 0;

    msg_begin(w, asks->flight_kind == ASK_COUNT ? MSG_COUNT_REQ : MSG_GET_REQ);
    DL_FOREACH(asks->flight, ask)
    {
        if (asks->flight_kind == ASK_COUNT)
            msg_put_count_req(w, &ask->count);
        else
            msg_put_get_req(w, &ask->get);
        items++;
    }
    msg_end(w, items);
}

/* Whether to wait for more to ask: see ASKS_GATHER_MS. */
static bool gathers(struct asks *asks, size_t calls, uint64_t now_ms)
{
    bool more = asks->sent_items > 1 && 2 * asks->open < calls;

    asks->hold_ms = more ? asks->sent_ms + ASKS_GATHER_MS : 0;
    return now_ms < asks->hold_ms;
}

/* A new flight of what stands in the queues, if anything does. */
static void take_off(struct asks *asks, uint64_t now_ms)
{
    /* Kinds take turns, so neither waits for more than one message of the other. */
    enum ask_kind other = asks->flight_kind == ASK_COUNT ? ASK_GET : ASK_COUNT;

    flight_fill(asks, asks->queue[other] != NULL ? other : asks->flight_kind);
    asks->sent_ms = now_ms;
    asks->sent_items = HASH_COUNT(asks->flight_by_id);
}

bool asks_next(struct asks *asks, struct writer *w, size_t calls, uint64_t now_ms)
{
    if (!asks->connected)
        return false;
    if (asks->flight == NULL) {
        if (asks->open == 0 || gathers(asks, calls, now_ms))
            return false;
        take_off(asks, now_ms);
        if (asks->flight == NULL)
            return false;
    } else if (!asks->again) {
        if (now_ms < asks->progress_ms + ASKS_RESEND_MS)
            return false;
        asks->resends++;
    }
    asks->again = false;
    asks->progress_ms = now_ms;
    flight_write(asks, w);
    return true;
}

/* The ask is removed before its owner is told, because the owner may ask again. */
static void counted(struct asks *asks, struct ask *ask, const struct msg_count_rep *rep)
{
    void *owner = ask->owner;

    ask_remove(asks, ask);
    if (owner != NULL)
        asks->to->counted(owner, rep);
}

static void got(struct asks *asks, struct ask *ask, const struct msg_get_rep *rep)
{
    void *owner = ask->owner;

    ask_remove(asks, ask);
    if (owner != NULL)
        asks->to->got(owner, rep);
}

/* What is under way by this id, if it is of this kind. */
static struct ask *flight_find(const struct asks *asks, const struct id *id,
                               enum ask_kind kind)
{
    struct ask *ask;

    HASH_FIND(hh, asks->flight_by_id, id, sizeof *id, ask);
    return ask != NULL && ask->kind == kind ? ask : NULL;
}

static enum err answer_item(struct asks *asks, enum msg_type type, struct reader *r)
{
    struct msg_count_rep count;
    struct msg_get_rep get;
    struct position heard;
    struct ask *ask;
    enum err err;

    switch (type) {
    case MSG_POSITION:
        err = msg_read_position(r, &heard);
        if (err == ERR_OK)
            asks->heard = heard;
        return err;
    case MSG_WELCOME:
        err = msg_read_welcome(r, &heard);
        if (err == ERR_OK)
            welcome(asks, &heard);
        return err;
    case MSG_COUNT_REP:
        err = msg_read_count_rep(r, &count);
        if (err == ERR_OK && (ask = flight_find(asks, &count.id, ASK_COUNT)) != NULL)
            counted(asks, ask, &count);
        return err;
    case MSG_GET_REP:
        err = msg_read_get_rep(r, &get);
        if (err == ERR_OK && (ask = flight_find(asks, &get.id, ASK_GET)) != NULL)
            got(asks, ask, &get);
        return err;
    case MSG_HELLO:
    case MSG_COUNT_REQ:
    case MSG_GET_REQ:
        break;
    }
    return ERR_MALFORMED;
}

enum err asks_answer(struct asks *asks, const void *bytes, size_t len, uint64_t now_ms)
{
    struct reader r = reader_of(bytes, len);
    enum err err = ERR_OK;

    asks->progress_ms = now_ms;
    do {
        enum msg_type type;
        unsigned items = 0;

        err = msg_read_header(&r, &type, &items);
        for (unsigned i = 0; err == ERR_OK && i < items; i++)
            err = answer_item(asks, type, &r);
    } while (err == ERR_OK && r.left > 0);
    return err;
}

static void give_up(struct asks *asks, struct ask *ask)
{
    if (ask->kind == ASK_COUNT) {
        const struct msg_count_rep rep = {
            .id = ask->id, .status = ask->sent ? STATUS_UNKNOWN : STATUS_UNAVAILABLE};

        counted(asks, ask, &rep);
    } else {
        const struct msg_get_rep rep = {.id = ask->id, .status = STATUS_UNAVAILABLE};

        got(asks, ask, &rep);
    }
}

void asks_expire(struct asks *asks, uint64_t now_ms)
{
    while (asks->by_age != NULL && asks->by_age->given_up_ms <= now_ms)
        give_up(asks, asks->by_age);
}

uint64_t asks_due_ms(const struct asks *asks)
{
    uint64_t due = asks->by_age != NULL ? asks->by_age->given_up_ms : UINT64_MAX;

    if (!asks->connected || (asks->flight == NULL && asks->open == 0))
        return due;
    if (asks->again)
        return 0;
    if (asks->flight == NULL)
        return due < asks->hold_ms ? due : asks->hold_ms;
    return due < asks->progress_ms + ASKS_RESEND_MS ? due
                                                    : asks->progress_ms + ASKS_RESEND_MS;
}

size_t asks_open(const struct asks *asks)
{
    return asks->open;
}

uint64_t asks_resends(const struct asks *asks)
{
    return asks->resends;
}

/* tests/simulation/clients.c: workers, which ask through the real server/asks.c, and the
 * callers behind them, who give up, call again with the same id, or hang up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulation/broken.h"
#include "tests/simulation/sim.h"
#include "tests/simulation/trace.h"

enum { TRIES_MAX = 4, SEND_MS = 2, RETRY_MS = 20000 };

static void call_close(struct call *call)
{
    struct worker *w = &call->sim->workers[call->worker];

    if (call->prev != NULL)
        call->prev->next = call->next;
    else
        w->calls = call->next;
    if (call->next != NULL)
        call->next->prev = call->prev;
    call->prev = call->next = NULL;
    w->call_count--;
    call->sim->open_calls--;
}

static void retry_later(struct call *call)
{
    struct sim *s = call->sim;

    event_add(s, rng_wide(&s->clients, 1, RETRY_MS), EVENT_RETRY, 0, call);
}

/* What a caller does when he has his answer. */
static void on_counted(void *owner, const struct msg_count_rep *rep)
{
    struct call *call = owner;
    struct sim *s = call->sim;
    bool good = rep->status == STATUS_FINAL;

    trace(TRACE_HEARD, rep->status, (uint64_t)rep->number);
    call_close(call);
    if (s->calm || call->tries >= TRIES_MAX ||
        !rng_chance(&s->clients, good ? 3 : s->plan.retry_percent, 100)) {
        free(call);
        return;
    }
    /* A dialplan may well use an id twice with something else. */
    if (good && rng_chance(&s->clients, 1, 10))
        call->req.amount = call->req.amount == 1 ? 2 : 1;
    retry_later(call);
}

static void on_got(void *owner, const struct msg_get_rep *rep)
{
    struct call *call = owner;

    trace(TRACE_HEARD, rep->status, (uint64_t)rep->total);
    call_close(call);
    free(call);
}

static const struct asks_owner owner = {.counted = on_counted, .got = on_got};

/* ---- workers ---- */

static void send_message(struct sim *s, unsigned worker, const struct writer *w)
{
    struct worker *from = &s->workers[worker];
    struct message *m = calloc(1, sizeof *m + w->len);

    if (m == NULL)
        abort();
    m->worker = worker;
    m->run = from->run;
    m->generation = from->generation;
    m->len = w->len;
    memcpy(m->bytes, w->start, w->len);
    trace(TRACE_ASK, worker, w->len);
    event_add(s, rng_between(&s->clients, 0, SEND_MS), EVENT_TO_STATE, worker, m);
}

static void wake_at(struct sim *s, unsigned worker, uint64_t at_ms)
{
    struct worker *w = &s->workers[worker];

    if (at_ms <= s->now_ms)
        at_ms = s->now_ms + 1;
    if (at_ms >= w->due_ms && w->due_ms > s->now_ms)
        return;
    w->due_ms = at_ms;
    event_add(s, at_ms - s->now_ms, EVENT_WORKER, worker, NULL);
}

/* What server/client.c does after each event. */
static void pump(struct sim *s, unsigned worker)
{
    static uint8_t buffer[MSG_MAX];
    struct worker *w = &s->workers[worker];
    struct writer out = writer_of(buffer, sizeof buffer);
    uint64_t due;

    if (w->stalls_until_ms > s->now_ms) {
        wake_at(s, worker, w->stalls_until_ms);
        return;
    }
    asks_expire(w->asks, s->now_ms);
    if (asks_next(w->asks, &out, w->call_count, s->now_ms))
        send_message(s, worker, &out);
    due = asks_due_ms(w->asks);
    if (due != UINT64_MAX)
        wake_at(s, worker, due);
}

void clients_worker_due(struct sim *s, unsigned worker)
{
    if (s->workers[worker].due_ms <= s->now_ms)
        s->workers[worker].due_ms = UINT64_MAX;
    pump(s, worker);
}

static void worker_start(struct sim *s, unsigned worker)
{
    struct worker *w = &s->workers[worker];

    w->asks = asks_new(s->plan.answer_ms, &owner);
    if (w->asks == NULL)
        abort();
    w->generation++;
    w->run = 0;
    w->due_ms = UINT64_MAX;
    w->stalls_until_ms = 0;
    w->calls = NULL;
    w->call_count = 0;
    clients_welcome(s, worker);
}

void clients_begin(struct sim *s)
{
    s->workers = calloc(s->plan.workers, sizeof *s->workers);
    if (s->workers == NULL)
        abort();
    for (unsigned i = 0; i < s->plan.workers; i++)
        worker_start(s, i);
}

void clients_end(struct sim *s)
{
    for (unsigned i = 0; i < s->plan.workers; i++) {
        struct call *next;

        asks_free(s->workers[i].asks);
        for (struct call *c = s->workers[i].calls; c != NULL; c = next) {
            next = c->next;
            free(c);
        }
    }
    free(s->workers);
}

/* It said hello, and is told where the log stands. */
void clients_welcome(struct sim *s, unsigned worker)
{
    size_t len = MSG_HEADER_SIZE + MSG_WELCOME_SIZE;
    struct position position;
    struct message *m;
    struct writer w;

    if (s->process.node == NULL)
        return;
    position = node_position(s->process.node);
    m = calloc(1, sizeof *m + len);
    if (m == NULL)
        abort();
    m->worker = worker;
    m->run = s->process.run;
    m->generation = s->workers[worker].generation;
    m->welcome = true;
    m->len = len;
    w = writer_of(m->bytes, len);
    msg_begin(&w, MSG_WELCOME);
    msg_put_welcome(&w, &position);
    msg_end(&w, 1);
    event_add(s, simdisk_took_ms(s->disk) + rng_between(&s->clients, 0, 10),
              EVENT_TO_WORKER, worker, m);
}

void clients_disconnect(struct sim *s)
{
    for (unsigned i = 0; i < s->plan.workers; i++) {
        asks_disconnected(s->workers[i].asks);
        s->workers[i].run = 0;
        pump(s, i);
    }
}

/* What an earlier process sent may still be read, until the next one says welcome. */
static bool is_readable(const struct sim *s, const struct message *m)
{
    const struct worker *w = &s->workers[m->worker];

    if (m->welcome)
        return s->process.node != NULL && m->run == s->process.run;
    return w->run == m->run || w->run == 0;
}

void clients_to_worker(struct sim *s, struct message *m)
{
    struct worker *w = &s->workers[m->worker];

    if (m->generation != w->generation) {
        free(m);
        return;
    }
    if (w->stalls_until_ms > s->now_ms) {
        event_add(s, w->stalls_until_ms - s->now_ms, EVENT_TO_WORKER, m->worker, m);
        return;
    }
    if (is_readable(s, m)) {
        if (m->welcome)
            w->run = m->run;
        if (asks_answer(w->asks, m->bytes, m->len, s->now_ms) != ERR_OK)
            broken("a worker cannot read what it is sent");
        pump(s, m->worker);
    }
    free(m);
}

/* A worker dies with its calls, some of which come again elsewhere; or it stands still
 * for a while. */
void clients_worker_fault(struct sim *s)
{
    unsigned worker = (unsigned)rng_below(&s->fault, s->plan.workers);
    struct worker *w = &s->workers[worker];
    struct call *call, *next;
    uint64_t ms = rng_wide(&s->fault, 100, 30000);

    s->result->faults[FAULT_worker]++;
    if (rng_chance(&s->fault, 1, 2)) {
        w->stalls_until_ms = s->now_ms + ms;
        trace(TRACE_WORKER_STALLS, worker, ms);
        return;
    }
    trace(TRACE_WORKER_DIED, worker, asks_open(w->asks));
    asks_free(w->asks);
    for (call = w->calls; call != NULL; call = next) {
        next = call->next;
        call_close(call);
        if (!call->get && call->tries < TRIES_MAX &&
            rng_chance(&s->clients, s->plan.retry_percent, 100))
            retry_later(call);
        else
            free(call);
    }
    worker_start(s, worker);
}

/* ---- callers ---- */

/* The call may be no more when this returns. */
static unsigned ask(struct sim *s, struct call *call)
{
    unsigned worker;
    struct worker *w;
    struct msg_get_req get = {.id = call->req.id, .name_len = call->req.name_len};

    call->worker = worker = (unsigned)rng_below(&s->clients, s->plan.workers);
    call->tries++;
    w = &s->workers[call->worker];
    call->prev = NULL;
    call->next = w->calls;
    if (w->calls != NULL)
        w->calls->prev = call;
    w->calls = call;
    w->call_count++;
    s->open_calls++;
    memcpy(get.name, call->req.name, sizeof get.name);
    call->ask = call->get ? asks_get(w->asks, &get, call, s->now_ms)
                          : asks_count(w->asks, &call->req, call, s->now_ms);
    if (call->ask == NULL)
        abort();
    if (rng_chance(&s->clients, 1, 50)) { /* He hangs up. */
        asks_forget(w->asks, call->ask);
        call_close(call);
        free(call);
    }
    return worker;
}

static void name_counter(struct sim *s, struct msg_count_req *req)
{
    /* Few are counted often, most now and then. */
    uint64_t most = rng_between(&s->clients, 1, s->plan.counters);
    unsigned counter = (unsigned)rng_below(&s->clients, most);
    int len = snprintf(req->name, sizeof req->name, "c%02u", counter);
    size_t want = 3 + (counter * 17U) % 50;

    for (; (size_t)len < want; len++)
        req->name[len] = "-._x"[len % 4];
    if (rng_chance(&s->clients, 1, 500))
        req->name[len - 1] = '/';
    req->name_len = (uint8_t)len;
}

static int32_t amount(struct sim *s)
{
    if (!s->plan.big_amounts || rng_chance(&s->clients, 1, 2))
        return 1;
    if (rng_chance(&s->clients, 1, 10))
        return rng_chance(&s->clients, 1, 2) ? INT32_MAX : INT32_MIN;
    return (int32_t)rng_below(&s->clients, 41) - 20;
}

/* A dialplan that asks with one id in two places at once. */
static void call_twice(struct sim *s, const struct call *call)
{
    struct call *other = malloc(sizeof *other);

    if (other == NULL)
        abort();
    *other = *call;
    pump(s, ask(s, other));
}

void clients_call(struct sim *s)
{
    struct call *call = calloc(1, sizeof *call);

    if (call == NULL)
        abort();
    call->sim = s;
    rng_bytes(&s->clients, &call->req.id, sizeof call->req.id);
    name_counter(s, &call->req);
    call->req.amount = amount(s);
    call->req.tag_len = (uint8_t)rng_below(&s->clients, s->plan.tag_max + 1);
    memset(call->req.tag, 't', call->req.tag_len);
    call->get =
        rng_chance(&s->clients, 1, 20) && call->req.name[call->req.name_len - 1] != '/';
    s->result->calls++;
    if (!call->get && rng_chance(&s->clients, 1, 100))
        call_twice(s, call);
    pump(s, ask(s, call));
}

void clients_retry(struct sim *s, struct call *call)
{
    pump(s, ask(s, call));
}

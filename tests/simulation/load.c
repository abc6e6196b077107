/* tests/simulation/load.c: callers at each member of a cluster, and the worker between them and the process: it says what
 * position it had heard when it first asked, and asks again, with the same id, for what got no answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulation/broken.h"
#include "tests/simulation/cluster.h"
#include "tests/simulation/trace.h"

enum { OPEN_MAX = 6000, TRIES_MAX = 8, AGAIN_MS = 3000 };

static void push(struct asks *list, struct ask *ask)
{
    ask->next = NULL;
    ask->prev = list->last;
    if (list->last != NULL)
        list->last->next = ask;
    else
        list->first = ask;
    list->last = ask;
    list->count++;
}

static void take_out(struct asks *list, struct ask *ask)
{
    if (ask->prev != NULL)
        ask->prev->next = ask->next;
    else
        list->first = ask->next;
    if (ask->next != NULL)
        ask->next->prev = ask->prev;
    else
        list->last = ask->prev;
    list->count--;
}

static void clear(struct asks *list)
{
    while (list->first != NULL) {
        struct ask *ask = list->first;

        take_out(list, ask);
        free(ask);
    }
}

/* ---- callers ---- */

static void name_counter(const struct cluster *c, struct rng *rng,
                         struct msg_count_req *req)
{
    /* Few are counted often, most now and then. */
    uint64_t most = rng_between(rng, 1, c->plan.counters);
    unsigned counter = (unsigned)rng_below(rng, most);
    int len = snprintf(req->name, sizeof req->name, "c%02u", counter);
    size_t want = 3 + (counter * 17U) % 50;

    for (; (size_t)len < want; len++)
        req->name[len] = "-._x"[len % 4];
    req->name_len = (uint8_t)len;
}

static void ask_for(struct member *m, unsigned tag_max)
{
    struct cluster *c = m->cluster;
    struct ask *ask;

    if (m->queue.count + m->taken.count + m->lost.count >= OPEN_MAX)
        return;
    ask = calloc(1, sizeof *ask);
    if (ask == NULL)
        abort();
    if (m->old_count > 0 && rng_chance(&c->load, 1, 30)) {
        ask->req = m->old[rng_below(&c->load, m->old_count)];
        if (rng_chance(&c->load, 1, 2))
            ask->req.heard =
                m->position; /* It is asked for anew; else its worker asks once more. */
        ask->tries = 1;
    } else {
        rng_bytes(&c->load, &ask->req.id, sizeof ask->req.id);
        name_counter(c, &c->load, &ask->req);
        ask->req.amount =
            rng_chance(&c->load, 1, 8) ? (int32_t)rng_below(&c->load, 41) - 20 : 1;
        ask->req.tag_len = (uint8_t)tag_max;
        memset(ask->req.tag, 't', ask->req.tag_len);
    }
    c->figures->calls++;
    push(&m->queue, ask);
}

void load_count(struct member *m)
{
    ask_for(m, m->cluster->plan.tag_max);
    member_turn_soon(m);
}

/* NULL: it is a witness, which is asked for nothing. */
static struct member *any(struct cluster *c)
{
    struct member *m = c->member[rng_below(&c->load, c->plan.nodes)];
    struct member *clone = c->member[MEMBERS_MAX - 1];

    if (clone != NULL && clone->node == m->node && rng_chance(&c->load, 1, 2))
        m = clone;
    return m->node == c->plan.witness ? NULL : m;
}

static void get(struct member *m)
{
    struct cluster *c = m->cluster;
    struct msg_count_req counter = {.amount = 0};
    struct msg_get_req req = {.name_len = 0};
    struct msg_get_rep rep;

    name_counter(c, &c->load, &counter);
    req.name_len = counter.name_len;
    memcpy(req.name, counter.name, sizeof req.name);
    node_get(m->process, &req, &rep);
    c->figures->gets++;
    trace(TRACE_GET, (uint64_t)rep.total, 0);
    check_got(m, &req, &rep);
}

void load_call(struct cluster *c)
{
    struct member *m = any(c);

    if (m == NULL)
        return;
    trace_actor(m->name);
    if (member_runs(m) && m->paused_until_ms <= c->now_ms && rng_chance(&c->load, 1, 10))
        get(m);
    else
        load_count(m);
}

void load_burst(struct cluster *c)
{
    struct member *m = any(c);
    uint64_t calls = rng_wide(&c->load, 20, c->plan.burst_calls);

    if (m == NULL)
        return;
    trace_actor(m->name);
    trace(TRACE_BURST, calls, 0);
    c->figures->faults[CLUSTER_burst]++;
    for (uint64_t i = 0; i < calls; i++)
        ask_for(m, TAG_MAX_BYTES);
    member_turn_soon(m);
}

/* ---- the worker ---- */

enum err load_take(struct member *m, size_t most)
{
    enum err err = ERR_OK;

    for (size_t i = 0; i < most && m->queue.first != NULL && err == ERR_OK; i++) {
        struct ask *ask = m->queue.first;

        if (node_short(m->process) || !simdisk_act(m->disk))
            break;
        take_out(&m->queue, ask);
        push(&m->taken, ask);
        if (ask->tries++ == 0)
            ask->req.heard = m->position;
        m->cluster->figures->asked++;
        err = node_count(m->process, &ask->req, (uint64_t)(uintptr_t)ask, member_time(m));
        /* It may have written a full block, and applied it, though nobody is answered: copies are waited for. */
        if (err == ERR_OK)
            ledger_applied(&m->ledger);
    }
    return err;
}

/* What was just written holds here: nothing was counted since. */
static void check_retired(struct member *m, const struct core_retirement *wanted)
{
    const struct item *item = core_item_from(node_core(m->process), &counter_component,
                                             wanted->name, wanted->name_len, false);

    if (item == NULL || item->key_len != wanted->name_len ||
        memcmp(item->key, wanted->name, wanted->name_len) != 0 ||
        item_hidden(item) == wanted->show)
        broken("a counter that was %s is not", wanted->show ? "shown" : "retired");
}

enum err load_retire(struct member *m)
{
    struct cluster *c = m->cluster;
    struct core_retirement wanted = {.reason = ""};
    struct msg_count_req counter = {.amount = 0};
    enum status status;
    enum err err;

    if (!c->plan.retires || c->calm || m->node == c->plan.witness ||
        !rng_chance(&c->retire, 1, 20))
        return ERR_OK;
    rng_bytes(&c->retire, &wanted.id, sizeof wanted.id);
    wanted.show = rng_chance(&c->retire, 1, 4);
    name_counter(c, &c->retire, &counter);
    wanted.name = counter.name;
    wanted.name_len = counter.name_len;
    err = node_flush(m->process, member_time(m)); /* As it does first, too. */
    if (err != ERR_OK || simdisk_dead(m->disk))
        return err;
    ledger_applied(&m->ledger);
    err = node_retire(m->process, &wanted, member_time(m), &status);
    if (err != ERR_OK || simdisk_dead(m->disk))
        return err;
    if (status_has_number(status)) {
        c->figures->retired++;
        check_retired(m, &wanted);
    } else if (status != STATUS_ERROR && status != STATUS_UNAVAILABLE) {
        broken("a retirement is answered with status %d", (int)status);
    }
    return ERR_OK;
}

static void again_later(struct member *m, struct ask *ask)
{
    if (ask->tries >= TRIES_MAX) {
        free(ask);
        return;
    }
    push(&m->lost, ask);
    cluster_event(m->cluster, rng_between(&m->cluster->load, 100, AGAIN_MS), EVENT_AGAIN,
                  m->serial, NULL);
}

static void remember(struct member *m, const struct ask *ask)
{
    const size_t max = sizeof m->old / sizeof *m->old;
    size_t at = m->old_count < max ? m->old_count++
                                   : (size_t)rng_below(&m->cluster->load, 8 * max);

    if (at < max)
        m->old[at] = ask->req;
}

void load_answered(struct member *m, struct ask *ask, const struct msg_count_rep *rep)
{
    struct cluster *c = m->cluster;
    bool number = status_has_number(rep->status);

    take_out(&m->taken, ask);
    c->figures->answered += number;
    c->figures->unknown += rep->status == STATUS_UNKNOWN;
    c->figures->unavailable += rep->status == STATUS_UNAVAILABLE;
    c->figures->refused += rep->status == STATUS_ERROR || rep->status == STATUS_DENIED;
    if (cluster_has(c, CLUSTER_lost) && rng_chance(&c->load, 1, 20)) {
        c->figures->faults[CLUSTER_lost]++;
        trace(TRACE_LOST, m->index, 0);
        again_later(m, ask);
        return;
    }
    m->position = node_position(m->process);
    if (rep->status == STATUS_UNAVAILABLE && rng_chance(&c->load, 1, 2)) {
        again_later(m, ask);
        return;
    }
    if (number)
        remember(m, ask);
    free(ask);
}

void load_connected(struct member *m)
{
    m->position = node_position(m->process);
}

/* What was asked is asked again, or its caller has hung up. */
static void ask_again(struct member *m, struct asks *from, unsigned percent)
{
    while (from->first != NULL) {
        struct ask *ask = from->first;

        take_out(from, ask);
        if (rng_chance(&m->cluster->load, percent, 100))
            push(&m->queue, ask);
        else
            free(ask);
    }
}

void load_gone(struct member *m)
{
    ask_again(m, &m->taken, 80);
}

void load_again(struct member *m)
{
    ask_again(m, &m->lost, 100);
    member_turn_soon(m);
}

void load_end(struct member *m)
{
    clear(&m->queue);
    clear(&m->taken);
    clear(&m->lost);
}

#include "replica/ctl_events.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct events {
    const struct events_seen *before, *now;
    event_fn *fn;
    void *arg;
};

__attribute__((format(printf, 5, 6))) static void
emit(const struct events *e, const char *name, enum event_weight weight, const char *peer,
     const char *format, ...)
{
    char what[512];
    const struct event event = {name, weight, peer, what};
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    e->fn(e->arg, &event);
}

static json_int_t number(const json_t *json, const char *member)
{
    return json_integer_value(json_object_get(json, member));
}

static const char *text_of(const json_t *json, const char *member)
{
    const char *text = json_string_value(json_object_get(json, member));

    return text != NULL ? text : "?";
}

/* ---- what is so or is not ---- */

struct flag {
    const char *within, *member; /* within NULL: of the reply itself */
    bool well;                   /* what it is when all is well */
    enum event_weight weight;    /* of its being otherwise */
    const char *bad, *good;      /* names */
    const char *bad_text, *good_text;
};

static const struct flag node_flags[] = {
    {NULL, "full", false, EVENT_NOT_OK, "disk-full", "disk-room",
     "the disk is full: new counts are refused, or soon will be", "the disk has room"},
    {NULL, "joining", false, EVENT_NOT_OK, "joining", "joined",
     "no number is said yet: the node is to catch up with a peer first",
     "the node has caught up: numbers are said"},
    {"peers", "copied", false, EVENT_NOT_OK, "copied", "copy-gone",
     "peers say that another process with this node's key is alive: it was copied",
     "no other process with this node's key is heard of any more"},
    {"copies", "to_be_had", true, EVENT_NOT_OK, "copies-missing", "copies-back",
     "new counts are refused: too few nodes are there to hold copies",
     "enough nodes are there to hold copies: counts are taken"},
};

static const struct flag peer_flags[] = {
    {NULL, "connected", true, EVENT_ATTENTION, "peer-gone", "peer-connected",
     "is not connected", "is connected"},
    {NULL, "too_far", false, EVENT_ATTENTION, "peer-too-far", "peer-near",
     "lacks blocks that this node's log has no more", "lacks no released block any more"},
    {NULL, "differs", false, EVENT_NOT_OK, "peer-differs", "peer-agrees",
     "has other counters though it holds the same blocks", "has the same counters again"},
    {NULL, "rivals", false, EVENT_NOT_OK, "peer-copied", "peer-alone",
     "has a double: more than one process is alive with its key",
     "has no double any more"},
};

/* -1: it is not told. */
static int flag_of(const json_t *reply, const struct flag *flag)
{
    const json_t *of =
        flag->within != NULL ? json_object_get(reply, flag->within) : reply;
    const json_t *value = json_object_get(of, flag->member);

    return json_is_boolean(value) ? json_is_true(value) : -1;
}

static void see_flag(const struct events *e, const struct flag *flag,
                     const json_t *before, const json_t *now, const char *peer)
{
    int was = flag_of(before, flag), is = flag_of(now, flag);
    bool well = is == flag->well;

    if (was < 0)
        was = flag->well;
    if (is < 0 || is == was)
        return;
    emit(e, well ? flag->good : flag->bad, well ? EVENT_GOOD : flag->weight, peer,
         "%s%s%s%s", peer != NULL ? "peer " : "", peer != NULL ? peer : "",
         peer != NULL ? " " : "", well ? flag->good_text : flag->bad_text);
}

static void see_flags(const struct events *e, const struct flag *flags, size_t count,
                      const json_t *before, const json_t *now, const char *peer)
{
    for (size_t i = 0; i < count; i++)
        see_flag(e, &flags[i], before, now, peer);
}

/* ---- what grows ---- */

static json_int_t grown(const json_t *before, const json_t *now, const char *member)
{
    json_int_t by = number(now, member) - number(before, member);

    return by > 0 ? by : 0;
}

static void see_forks(const struct events *e)
{
    json_int_t more = grown(e->before->status, e->now->status, "forks");

    if (more > 0)
        emit(e, "fork", EVENT_ATTENTION, NULL,
             "%" JSON_INTEGER_FORMAT
             " streams more fork: a copied process counted in them, too",
             more);
}

static void see_checkpoint(const struct events *e)
{
    const json_t *was = json_object_get(e->before->status, "checkpoint");
    const json_t *is = json_object_get(e->now->status, "checkpoint");

    if (e->before->status != NULL && number(is, "number") > number(was, "number"))
        emit(e, "checkpoint", EVENT_NOTE, NULL,
             "checkpoint %" JSON_INTEGER_FORMAT " is on disk", number(is, "number"));
}

static void see_processes(const struct events *e)
{
    const json_t *before = e->before->status, *now = e->now->status;
    const json_t *calls_before = json_object_get(before, "calls"),
                 *calls = json_object_get(now, "calls");
    json_int_t workers = grown(calls_before, calls, "workers_started");
    bool again = number(calls, "states_started") > number(calls_before, "states_started");

    if (before == NULL)
        return;
    if (number(before, "started_ms") != number(now, "started_ms")) {
        if (again)
            emit(e, "state-started", EVENT_ATTENTION, NULL,
                 "the state process was started again; tallyd's log says why it ended");
        else
            emit(e, "node-started", EVENT_NOTE, NULL, "the node was started");
        if (!again) /* All its figures begin anew. */
            return;
    }
    if (workers > 0)
        emit(e, "worker-started", EVENT_NOTE, NULL,
             "%" JSON_INTEGER_FORMAT " workers were started", workers);
}

static void see_numbers(const struct events *e)
{
    const char *was = text_of(e->before->status, "numbers");
    const char *is = text_of(e->now->status, "numbers");

    if (e->before->status != NULL && strcmp(was, is) != 0)
        emit(e, "numbers", EVENT_NOTE, NULL, "numbers are %s from now on", is);
}

/* ---- peers ---- */

static const json_t *peer_named(const struct events_seen *seen, const char *name)
{
    const json_t *list = json_object_get(seen->peers, "peers"), *peer;
    size_t i;

    json_array_foreach(list, i,
                       peer) if (strcmp(text_of(peer, "name"), name) == 0) return peer;
    return NULL;
}

static void see_peer_grown(const struct events *e, const json_t *was, const json_t *is,
                           const char *name)
{
    json_int_t refused = grown(was, is, "refused"), newer = grown(was, is, "newer");

    if (refused > 0)
        emit(e, "peer-refused", EVENT_ATTENTION, name,
             "%" JSON_INTEGER_FORMAT
             " blocks of peer %s were refused; tallyd's log says why",
             refused, name);
    if (newer > 0 && number(was, "newer") == 0)
        emit(e, "peer-newer", EVENT_ATTENTION, name,
             "peer %s sends blocks of a newer version, and they wait", name);
}

static void see_peers(const struct events *e)
{
    const json_t *list = json_object_get(e->now->peers, "peers"), *peer;
    const bool told_before = e->before->peers != NULL;
    size_t i;

    json_array_foreach(list, i, peer)
    {
        const char *name = text_of(peer, "name");
        const json_t *was = peer_named(e->before, name);

        if (told_before && was == NULL)
            emit(e, "peer-added", EVENT_NOTE, name, "peer %s was added", name);
        see_flags(e, peer_flags, sizeof peer_flags / sizeof peer_flags[0], was, peer,
                  name);
        see_peer_grown(e, was, peer, name);
    }
    if (e->now->peers == NULL)
        return;
    json_array_foreach(json_object_get(e->before->peers, "peers"), i, peer)
    {
        const char *name = text_of(peer, "name");

        if (peer_named(e->now, name) == NULL)
            emit(e, "peer-removed", EVENT_NOTE, name, "peer %s was removed", name);
    }
}

void events_between(const struct events_seen *before, const struct events_seen *now,
                    event_fn *fn, void *arg)
{
    static const struct events_seen nothing;
    const struct events e = {before != NULL ? before : &nothing, now, fn, arg};

    see_processes(&e);
    see_flags(&e, node_flags, sizeof node_flags / sizeof node_flags[0], e.before->status,
              now->status, NULL);
    see_forks(&e);
    see_numbers(&e);
    see_checkpoint(&e);
    see_peers(&e);
}

const char *event_weight_name(enum event_weight weight)
{
    static const char *const names[] = {[EVENT_NOTE] = "note",
                                        [EVENT_GOOD] = "ok",
                                        [EVENT_ATTENTION] = "attention",
                                        [EVENT_NOT_OK] = "not ok"};

    return names[weight];
}

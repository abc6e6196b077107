/* replica/ctl_watch.c: tallyctl watch: counters as they change, or what happens at the node, until Ctrl-C. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "replica/ctl.h"
#include "replica/ctl_changes.h"
#include "replica/ctl_events.h"
#include "replica/ctl_live.h"
#include "replica/ctl_progress.h"

enum {
    TURN_MS = 200,    /* between two looks: five lines a second of one counter, at most */
    EVENTS_MS = 1000, /* between two looks for events */
    /* A state process that is slow to answer is not one that is gone. */
    WAIT_MS = 3000,
};

struct watch {
    struct ctl *ctl;
    struct live live;
    bool told_lost;
    bool unread;             /* whoever read the output is gone */
    uint64_t limit, printed; /* lines */
    /* counters */
    struct changes changes;
    struct wal_mark told; /* all that stands before it was told */
    bool told_any;        /* it is known; else the log's beginning */
    bool gone;            /* something could not be told */
    /* events */
    json_t *status, *peers; /* as they were last; NULL: nothing was seen yet */
};

static bool ended(const struct watch *w)
{
    return progress_interrupted() || w->unread || ctl_out_broken() ||
           w->printed >= w->limit;
}

/* Also ends where whoever reads the output is gone: nothing may ever be written that would tell so. */
static void rest(struct watch *w, unsigned ms)
{
    struct pollfd out = {.fd = STDOUT_FILENO};

    if (poll(&out, 1, (int)ms) > 0 && (out.revents & (POLLERR | POLLNVAL)) != 0)
        w->unread = true;
}

static void flush_lines(void)
{
    errno = 0;
    if (fflush(stdout) != 0)
        (void)ctl_out_broken(); /* It notes why. */
}

/* ---- events ---- */

static void print_event(struct watch *w, const struct event *event)
{
    static const enum ctl_color colors[] = {[EVENT_NOTE] = CTL_PLAIN,
                                            [EVENT_GOOD] = CTL_GOOD,
                                            [EVENT_ATTENTION] = CTL_WARN,
                                            [EVENT_NOT_OK] = CTL_BAD};
    static const char *const words[] = {[EVENT_NOTE] = "-",
                                        [EVENT_GOOD] = "OK",
                                        [EVENT_ATTENTION] = "ATTENTION",
                                        [EVENT_NOT_OK] = "NOT OK"};
    bool plain = event->weight == EVENT_NOTE;
    char when[CTL_TIME_SIZE];
    uint64_t now = clock_wall_ms();
    json_t *json;

    w->printed++;
    if (w->ctl->json) {
        json =
            json_pack("{s:I, s:s, s:s, s:s*, s:s}", "time_ms", (json_int_t)now, "event",
                      event->name, "severity", event_weight_name(event->weight), "peer",
                      event->peer, "what", event->what);
        ctl_print_json(json);
        json_decref(json);
        return;
    }
    ctl_format_clock(now, when);
    printf("%s %s%-9s%s ", when, plain ? "" : ctl_color(colors[event->weight]),
           words[event->weight], plain ? "" : ctl_color(CTL_PLAIN));
    ctl_print_text(event->what, strlen(event->what));
    putchar('\n');
}

static void take_event(void *arg, const struct event *event)
{
    struct watch *w = arg;

    if (!ended(w))
        print_event(w, event);
}

static void see_events(struct watch *w, json_t *status)
{
    json_t *peers = live_ask(&w->live, json_pack("{s:s}", "do", "peers"));
    const struct events_seen before = {w->status, w->peers}, now = {status, peers};

    if (peers == NULL)
        return;
    events_between(w->status != NULL ? &before : NULL, &now, take_event, w);
    json_decref(w->status);
    json_decref(w->peers);
    w->status = json_incref(status);
    w->peers = peers;
}

/* ---- counters ---- */

static void print_change(const struct watch *w, const struct change *change,
                         const char *place)
{
    char when[CTL_TIME_SIZE], total[24] = "?";
    json_t *json;

    if (w->ctl->json) {
        json = json_pack(
            "{s:I, s:s, s:I, s:I, s:o, s:s*}", "time_ms", (json_int_t)clock_wall_ms(),
            "counter", change->name, "counts", (json_int_t)change->counts, "amount",
            (json_int_t)change->amount, "total",
            change->known ? json_integer(change->total) : json_null(), "position", place);
        ctl_print_json(json);
        json_decref(json);
        return;
    }
    if (change->known)
        snprintf(total, sizeof total, "%" PRId64, change->total);
    ctl_format_clock(clock_wall_ms(), when);
    printf("%s %-24s %+10" PRId64 " %14s\n", when, change->name, change->amount, total);
}

/* Of several lines only the last one says where all of them are told: whoever goes on from another one gets again
 * what stands behind it, rather than lose it. */
static void tell_changes(struct watch *w)
{
    const struct history *h = &w->changes.history;
    char before[HISTORY_PLACE_SIZE], after[HISTORY_PLACE_SIZE];

    history_place_format(&w->told, before);
    history_place_format(&h->at, after);
    for (struct change *c = w->changes.table; c != NULL && !ended(w); c = c->hh.next) {
        bool last = c->hh.next == NULL;

        print_change(w, c, last ? after : w->told_any ? before : NULL);
        w->printed++;
        if (!last)
            continue;
        w->told = h->at;
        w->told_any = true;
    }
    changes_clear(&w->changes);
}

static void tell_gone(struct watch *w, enum history_place place)
{
    const char *what = place == HISTORY_RELEASED
                           ? "the log begins later than that: counts in between were "
                             "released and are not told"
                           : "this node's log is another one now: what was counted in "
                             "between is not told";

    ctl_complain("%s; going on with the oldest that there is", what);
    w->gone = true;
    if (!w->ctl->json)
        return;
    printf("{\"time_ms\":%" PRIu64 ",\"gone\":true,\"what\":\"%s\"}\n", clock_wall_ms(),
           what);
}

/* Where the log may be another one than before, and what is behind the place may be no more. */
static enum ctl_exit find_place(struct watch *w, const json_t *status)
{
    struct history *h = &w->changes.history;
    enum history_place place;

    if (w->live.changed)
        h->learned = false;
    place = changes_where(&w->changes, status);
    if (place == HISTORY_UNREAD)
        return CTL_NOT_FINE;
    if (place == HISTORY_HERE)
        return CTL_FINE;
    tell_gone(w, place);
    h->begun = false;
    w->told_any = false;
    return CTL_FINE;
}

static enum ctl_exit see_changes(struct watch *w, const json_t *status)
{
    enum ctl_exit code = find_place(w, status);

    do {
        if (code == CTL_FINE)
            code = changes_read(&w->changes, status);
        /* Without the totals all stays in the table until the node answers again. */
        if (code != CTL_FINE || !changes_totals(&w->changes, &w->live))
            return code;
        tell_changes(w);
        flush_lines();
    } while (w->changes.more && !ended(w));
    return code;
}

/* ---- both ---- */

static void tell_lost(struct watch *w)
{
    if (!w->told_lost)
        ctl_complain("the node %s; waiting for it", live_why(&w->live));
    w->told_lost = true;
}

static void tell_found(struct watch *w)
{
    if (w->told_lost)
        ctl_complain("the node answers again");
    w->told_lost = false;
}

static enum ctl_exit turn(struct watch *w, bool events)
{
    json_t *status = live_status(&w->live);
    enum ctl_exit code = CTL_FINE;

    if (status == NULL) {
        tell_lost(w);
        return CTL_FINE;
    }
    tell_found(w);
    if (events)
        see_events(w, status);
    else
        code = see_changes(w, status);
    json_decref(status);
    flush_lines();
    return code;
}

/* As the node is at the start. */
static enum ctl_exit begin(struct watch *w, const char *from)
{
    struct history *h = &w->changes.history;
    json_t *status;
    enum ctl_exit code;

    if (!w->ctl->node.running) {
        ctl_complain("the node is not running: only its process tells what changes");
        return CTL_UNREACHABLE;
    }
    code = ctl_request(w->ctl, json_pack("{s:s}", "do", "status"), &status);
    if (code != CTL_FINE)
        return code;
    if (from == NULL)
        changes_skip(&w->changes, status);
    w->live.pid = ctl_number(status, "pid");
    w->live.started_ms = ctl_number(status, "started_ms");
    w->told = h->at;
    w->told_any = h->begun;
    json_decref(status);
    return CTL_FINE;
}

static void tell_place(const struct watch *w)
{
    char place[HISTORY_PLACE_SIZE];

    history_place_format(&w->told, place);
    if (w->told_any)
        ctl_complain("to go on from here: --from %s", place);
}

static enum ctl_exit run(struct watch *w, bool events, const char *from)
{
    enum ctl_exit code = begin(w, from);

    if (code != CTL_FINE)
        return code;
    while (code == CTL_FINE && !ended(w)) {
        code = turn(w, events);
        if (code == CTL_FINE && !ended(w))
            rest(w, w->live.lost ? w->live.pause_ms : events ? EVENTS_MS : TURN_MS);
    }
    if (!events)
        tell_place(w);
    return code == CTL_FINE && w->gone ? CTL_NOT_FINE : code;
}

enum ctl_exit ctl_watch(struct ctl *ctl)
{
    const char *from = ctl->words->option[CTL_OPT_FROM];
    bool events = ctl->words->option[CTL_OPT_EVENTS] != NULL;
    struct watch w = {.ctl = ctl,
                      .live = {.node = &ctl->node, .wait_ms = WAIT_MS},
                      .changes = {.history = {.ctl = ctl},
                                  .patterns = ctl->words->arg,
                                  .count = ctl->words->args}};
    enum ctl_exit code;

    if (!ctl_limit(ctl, &w.limit))
        return CTL_USAGE;
    if (events && (from != NULL || ctl->words->args > 0))
        return ctl_usage("--events are of the node, and do not stand in the log: neither "
                         "--from nor a PATTERN goes with them");
    if (from != NULL && !history_place_read(from, &w.changes.history.at))
        return ctl_usage("--from %.64s: expected a place as watch and log tell it", from);
    w.changes.history.begun = from != NULL;
    progress_catch();
    code = run(&w, events, from);
    changes_close(&w.changes);
    json_decref(w.status);
    json_decref(w.peers);
    return code;
}

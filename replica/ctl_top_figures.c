#include "replica/ctl_top_figures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- series ---- */

void top_series_add(struct top_series *series, double value)
{
    series->value[series->next] = (float)value;
    series->next = (series->next + 1) % TOP_HISTORY;
    if (series->count < TOP_HISTORY)
        series->count++;
}

double top_series_at(const struct top_series *series, unsigned age)
{
    if (age >= series->count)
        return NAN;
    return (double)series->value[(series->next + TOP_HISTORY - 1 - age) % TOP_HISTORY];
}

double top_series_max(const struct top_series *series, unsigned count)
{
    double most = 0;

    for (unsigned age = 0; age < count && age < series->count; age++) {
        double value = top_series_at(series, age);

        if (value > most) /* which NAN is not */
            most = value;
    }
    return most;
}

double top_series_now(const struct top_series *series)
{
    double sum = 0;
    unsigned known = 0;

    for (unsigned age = 0; age < TOP_WINDOW; age++) {
        double value = top_series_at(series, age);

        if (isnan(value))
            continue;
        sum += value;
        known++;
    }
    return known > 0 ? sum / known : (double)NAN;
}

/* ---- times ---- */

double top_quantile(const uint64_t bucket[TIMES_BUCKETS], double share)
{
    uint64_t all = 0, below = 0;
    double rank;

    for (size_t i = 0; i < TIMES_BUCKETS; i++)
        all += bucket[i];
    if (all == 0)
        return (double)NAN;
    rank = share * (double)all;
    for (size_t i = 0; i < TIMES_BUCKETS - 1; i++) {
        double from = i == 0 ? 0 : (double)times_bounds_us[i - 1];
        double to = (double)times_bounds_us[i];

        if ((double)(below + bucket[i]) >= rank && bucket[i] > 0)
            return from + (to - from) * (rank - (double)below) / (double)bucket[i];
        below += bucket[i];
    }
    return (double)times_bounds_us[TIMES_BUCKETS - 2];
}

static void read_times(const json_t *times, uint64_t bucket[TIMES_BUCKETS])
{
    const json_t *number = json_object_get(times, "number");

    for (size_t i = 0; i < TIMES_BUCKETS; i++)
        bucket[i] = (uint64_t)json_integer_value(json_array_get(number, i));
}

/* What came between the samples of `back` ago and the newest one. */
static void times_between(const struct top_times *t, unsigned back,
                          uint64_t out[TIMES_BUCKETS])
{
    const uint64_t *now = t->bucket[(t->next + TOP_WINDOW) % (TOP_WINDOW + 1)];
    const uint64_t *then = t->bucket[(t->next + TOP_WINDOW - back) % (TOP_WINDOW + 1)];

    for (size_t i = 0; i < TIMES_BUCKETS; i++)
        out[i] = now[i] > then[i] ? now[i] - then[i] : 0;
}

static void take_times(struct top_times *t, const json_t *times)
{
    read_times(times, t->bucket[t->next]);
    t->next = (t->next + 1) % (TOP_WINDOW + 1);
    if (t->count < TOP_WINDOW + 1)
        t->count++;
}

/* Of the last sample, or of all in the window. */
static double times_quantile(const struct top_times *t, bool window, double share)
{
    uint64_t bucket[TIMES_BUCKETS];

    if (t->count < 2)
        return (double)NAN;
    times_between(t, window ? t->count - 1 : 1, bucket);
    return top_quantile(bucket, share);
}

/* ---- answers ---- */

static uint64_t number(const json_t *json, const char *member)
{
    return (uint64_t)json_integer_value(json_object_get(json, member));
}

static bool is(const json_t *json, const char *member)
{
    return json_is_true(json_object_get(json, member));
}

static void copy_text(char *to, size_t size, const json_t *json, const char *member)
{
    const char *text = json_string_value(json_object_get(json, member));

    snprintf(to, size, "%s", text != NULL ? text : "");
}

/* A second of what only grows. Less than before: it began anew. */
static double rate(uint64_t before, uint64_t now, double seconds)
{
    return now >= before && seconds > 0 ? (double)(now - before) / seconds : (double)NAN;
}

static struct top_seen seen_of(const json_t *status, const struct top_moment *moment)
{
    const json_t *calls = json_object_get(status, "calls");

    return (struct top_seen){.any = true,
                             .at_ms = moment->mono_ms,
                             .pid = json_integer_value(json_object_get(status, "pid")),
                             .taken = number(calls, "taken"),
                             .failed = number(calls, "failed"),
                             .refused = number(calls, "refused"),
                             .counts = number(calls, "counts"),
                             .all_counts = number(status, "counts"),
                             .log_end = number(json_object_get(status, "log"), "end")};
}

static void take_rates(struct top_figures *f, const struct top_seen *now)
{
    const struct top_seen *was = &f->seen;
    double seconds = (double)(now->at_ms - was->at_ms) / 1000;
    double failed = rate(was->failed, now->failed, seconds);
    double refused = rate(was->refused, now->refused, seconds);

    top_series_add(&f->calls, rate(was->taken, now->taken, seconds));
    top_series_add(&f->counts, rate(was->counts, now->counts, seconds));
    /* A state process that began anew counts its recovery, too. */
    top_series_add(&f->all_counts, was->pid == now->pid
                                       ? rate(was->all_counts, now->all_counts, seconds)
                                       : (double)NAN);
    top_series_add(&f->log_bytes, rate(was->log_end, now->log_end, seconds));
    f->failed_rate = isnan(failed) ? 0 : failed;
    f->refused_rate = isnan(refused) ? 0 : refused;
}

static void take_quantiles(struct top_figures *f, const json_t *status)
{
    take_times(&f->answers, json_object_get(json_object_get(status, "calls"), "answers"));
    take_times(&f->commits, json_object_get(status, "commit_times"));
    f->p50_now_us = times_quantile(&f->answers, true, 0.5);
    f->p99_now_us = times_quantile(&f->answers, true, 0.99);
    f->commit_now_us = times_quantile(&f->commits, true, 0.99);
    if (f->answers.count < 2)
        return;
    top_series_add(&f->p50_us, times_quantile(&f->answers, false, 0.5));
    top_series_add(&f->p99_us, times_quantile(&f->answers, false, 0.99));
    top_series_add(&f->commit_p99_us, times_quantile(&f->commits, false, 0.99));
}

static void take_node(struct top_figures *f, const json_t *status,
                      const struct top_moment *moment)
{
    const json_t *calls = json_object_get(status, "calls");
    const json_t *checkpoint = json_object_get(status, "checkpoint");
    const json_t *log = json_object_get(status, "log");
    uint64_t started = number(status, "started_ms"), made = number(checkpoint, "made_ms");

    copy_text(f->node, sizeof f->node, status, "node");
    copy_text(f->numbers, sizeof f->numbers, status, "numbers");
    copy_text(f->version, sizeof f->version, status, "version");
    f->up_ms = moment->wall_ms > started ? moment->wall_ms - started : 0;
    f->open = number(calls, "open");
    f->taken = number(calls, "taken");
    f->failed = number(calls, "failed");
    f->refused = number(calls, "refused");
    f->log_kept = number(log, "end") - number(log, "first");
    f->checkpoint = number(checkpoint, "number");
    f->checkpoint_ms = made == 0                ? -1
                       : moment->wall_ms > made ? (int64_t)(moment->wall_ms - made)
                                                : 0;
    f->disk_free = moment->disk_free;
    f->disk_size = moment->disk_size;
    f->counters_all = number(status, "counters");
    f->peers_all = number(json_object_get(status, "peers"), "count");
    f->peers_connected = number(json_object_get(status, "peers"), "connected");
}

static void take_verdict(struct top_figures *f, const struct top_moment *moment)
{
    const json_t *worst = json_array_get(moment->problems, 0);

    f->verdict = moment->verdict;
    f->problems = json_array_size(moment->problems);
    copy_text(f->what, sizeof f->what, worst, "what");
    copy_text(f->todo, sizeof f->todo, worst, "do");
}

/* ---- peers ---- */

static void peer_state(struct top_peer *peer, const json_t *json)
{
    uint64_t of = number(json, "fetch_bytes");
    const char *state = "connected";

    peer->well = false;
    if (is(json, "differs"))
        state = "DIFFERS";
    else if (is(json, "rivals"))
        state = "COPIED";
    else if (!is(json, "reached"))
        state = "NOT REACHED";
    else if (!is(json, "connected"))
        state = "NO ANSWER";
    else if (is(json, "too_far"))
        state = "TOO FAR";
    else
        peer->well = true;
    snprintf(peer->state, sizeof peer->state, "%s", state);
    if (of > 0)
        snprintf(peer->state, sizeof peer->state, "gives %u %%",
                 (unsigned)((double)number(json, "fetched") * 100 / (double)of));
}

/* In the order of the answer; a history goes with its name. */
static void take_peer(struct top_figures *f, size_t at, const json_t *json)
{
    const json_t *behind = json_object_get(json, "behind");
    const json_t *heard = json_object_get(json, "heard_ms");
    struct top_peer *peer = &f->peer[at];
    char name[TOP_NAME + 1];

    copy_text(name, sizeof name, json, "name");
    for (size_t i = at; i < f->peers && strcmp(peer->name, name) != 0; i++) {
        struct top_peer held;

        if (strcmp(f->peer[i].name, name) != 0)
            continue;
        held = f->peer[i];
        f->peer[i] = *peer;
        *peer = held;
    }
    if (strcmp(peer->name, name) != 0) {
        memset(peer, 0, sizeof *peer);
        memcpy(peer->name, name, sizeof name);
    }
    peer_state(peer, json);
    peer->heard_ms = json_is_integer(heard) ? json_integer_value(heard) : -1;
    peer->behind = json_is_integer(behind) ? json_integer_value(behind) : -1;
    top_series_add(&peer->lag, peer->behind >= 0 ? (double)peer->behind : (double)NAN);
}

static void take_peers(struct top_figures *f, const json_t *peers)
{
    const json_t *list = json_object_get(peers, "peers"), *json;
    size_t i;

    json_array_foreach(list, i, json)
    {
        if (i == TOP_PEERS)
            break;
        if (i >= f->peers)
            memset(&f->peer[i], 0, sizeof f->peer[i]);
        take_peer(f, i, json);
        if (i >= f->peers)
            f->peers = i + 1;
    }
    f->peers = i;
}

/* ---- counters ---- */

static struct top_counter *counter_find(const struct top_figures *f, const char *name)
{
    for (size_t i = 0; i < f->counters; i++)
        if (strncmp(f->counter[i]->name, name, TOP_NAME) == 0)
            return f->counter[i];
    return NULL;
}

/* Of those kept, the one that changed the longest ago gives way. */
static struct top_counter *counter_room(struct top_figures *f)
{
    struct top_counter *oldest, *fresh;

    if (f->counters < TOP_COUNTERS) {
        fresh = calloc(1, sizeof *fresh);
        if (fresh != NULL)
            f->counter[f->counters++] = fresh;
        return fresh;
    }
    oldest = f->counter[0];
    for (size_t i = 1; i < f->counters; i++)
        if (f->counter[i]->changed < oldest->changed)
            oldest = f->counter[i];
    memset(oldest, 0, sizeof *oldest);
    return oldest;
}

static struct top_counter *counter_of(struct top_figures *f, const char *name)
{
    struct top_counter *counter = counter_find(f, name);

    if (counter != NULL)
        return counter;
    counter = counter_room(f);
    if (counter == NULL)
        return NULL;
    snprintf(counter->name, sizeof counter->name, "%s", name);
    /* Had it been counted since the first sample, it would be here. */
    for (uint64_t i = f->samples; i < TOP_TREND; i++)
        counter->trend[i] = NAN;
    return counter;
}

bool top_counter_set(struct top_figures *f, const char *name, int64_t total, bool known)
{
    struct top_counter *counter = counter_of(f, name);

    if (counter == NULL)
        return false;
    counter->total = total;
    counter->known = known;
    return true;
}

bool top_counter_add(struct top_figures *f, const char *name, uint64_t counts)
{
    struct top_counter *counter = counter_of(f, name);

    if (counter == NULL)
        return false;
    counter->counts += counts;
    counter->changed = f->samples + 1;
    return true;
}

/* seconds 0: it is not known how many. */
static void take_counter(struct top_counter *c, double seconds)
{
    double sum = 0;
    unsigned known = 0;

    memmove(c->trend + 1, c->trend, (TOP_TREND - 1) * sizeof c->trend[0]);
    c->trend[0] = seconds > 0 ? (float)((double)c->counts / seconds) : NAN;
    c->counts = 0;
    for (size_t i = 0; i < TOP_WINDOW; i++) {
        if (isnan(c->trend[i]))
            continue;
        sum += (double)c->trend[i];
        known++;
    }
    c->rate = known > 0 ? (float)(sum / known) : 0;
}

static int by_name(const void *a, const void *b)
{
    const struct top_counter *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static int by_total(const void *a, const void *b)
{
    const struct top_counter *const *x = a, *const *y = b;

    if ((*x)->total != (*y)->total)
        return (*x)->total > (*y)->total ? -1 : 1;
    return by_name(a, b);
}

static int by_rate(const void *a, const void *b)
{
    const struct top_counter *const *x = a, *const *y = b;

    if ((*x)->rate < (*y)->rate || (*x)->rate > (*y)->rate)
        return (*x)->rate > (*y)->rate ? -1 : 1;
    return by_total(a, b);
}

void top_sort(struct top_figures *f, enum top_sort by)
{
    static int (*const orders[TOP_SORTS])(const void *, const void *) = {
        [TOP_BY_RATE] = by_rate, [TOP_BY_TOTAL] = by_total, [TOP_BY_NAME] = by_name};

    qsort(f->counter, f->counters, sizeof f->counter[0], orders[by]);
}

void top_free(struct top_figures *f)
{
    for (size_t i = 0; i < f->counters; i++)
        free(f->counter[i]);
    f->counters = 0;
}

/* ---- a sample ---- */

void top_take(struct top_figures *f, const json_t *status, const json_t *peers,
              const struct top_moment *moment)
{
    struct top_seen now = seen_of(status, moment);
    double seconds = f->seen.any ? (double)(now.at_ms - f->seen.at_ms) / 1000 : 0;

    if (f->seen.any)
        take_rates(f, &now);
    take_quantiles(f, status);
    take_node(f, status, moment);
    take_verdict(f, moment);
    take_peers(f, peers);
    for (size_t i = 0; i < f->counters; i++)
        take_counter(f->counter[i], seconds);
    f->seen = now;
    f->samples++;
    f->heard = true;
    f->heard_ms = moment->mono_ms;
    f->lost = false;
}

void top_miss(struct top_figures *f, const char *why)
{
    struct top_series *const series[] = {&f->calls,    &f->counts, &f->all_counts,
                                         &f->p50_us,   &f->p99_us, &f->commit_p99_us,
                                         &f->log_bytes};

    for (size_t i = 0; i < sizeof series / sizeof series[0]; i++)
        if (series[i]->count > 0)
            top_series_add(series[i], (double)NAN);
    for (size_t i = 0; i < f->peers; i++)
        top_series_add(&f->peer[i].lag, (double)NAN);
    for (size_t i = 0; i < f->counters; i++)
        take_counter(f->counter[i], 0);
    /* What happens meanwhile is no rate of the second in which it is back. */
    f->seen.any = false;
    f->answers.count = f->commits.count = 0;
    f->samples++;
    f->lost = true;
    snprintf(f->why, sizeof f->why, "%s", why);
}

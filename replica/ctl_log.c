/* replica/ctl_log.c: tallyctl log. */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replica/ctl_history.h"

enum {
    FOLLOW_MS = 200,        /* between two looks at the log's end */
    LAST_MAX = 1000 * 1000, /* of --limit */
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

/* ---- one count ---- */

struct printing {
    const struct ctl *ctl;
    bool places;   /* say where to go on behind a block */
    uint64_t skip; /* counts of the first block to leave out */
    uint64_t left; /* lines still to print */
};

static void print_line(const struct history_count *count)
{
    const struct op *op = count->op;
    char when[CTL_TIME_SIZE], node[NODE_NAME_MAX + 1], numbers[5] = "", amount[24];

    ctl_format_clock(count->block->stamp_ms, when);
    snprintf(amount, sizeof amount, "%+" PRId64, op->value);
    memccpy(numbers, history_numbers(count), '\0', sizeof numbers - 1);
    printf("%s %-8s %-16.*s %6s %9" PRId64 " %-5s ", when, history_node(count, node),
           op->key_len, op->key, history_op(op) != NULL ? history_op(op) : amount,
           op->before + op_amount(op),
           strcmp(numbers, "PROV") == 0 ? "PROV." : history_numbers(count));
    ctl_print_text(op->text, op->text_len);
    putchar('\n');
}

static void print_json(const struct printing *p, const struct history_count *count)
{
    json_t *json = history_json(count);
    char place[HISTORY_PLACE_SIZE];

    if (json != NULL && p->places && count->last) {
        history_place_format(&count->after, place);
        json_object_set_new(json, "position", json_string(place));
    }
    ctl_print_json(json);
    json_decref(json);
}

static bool print_count(void *arg, const struct history_count *count)
{
    struct printing *p = arg;

    if (p->skip > 0) {
        p->skip--;
        return true;
    }
    if (p->left == 0)
        return false;
    p->left--;
    if (p->ctl->json)
        print_json(p, count);
    else
        print_line(count);
    return !ctl_out_broken() && !interrupted;
}

/* For people: programs get the lines alone. */
static void print_head(const struct ctl *ctl)
{
    if (ctl->json || !isatty(STDOUT_FILENO))
        return;
    printf("%s%-*s %-8s %-16s %6s %9s %-5s %s%s\n", ctl_color(CTL_BOLD),
           ctl_clock_width(), "time", "node", "counter", "amount", "number", "", "tag",
           ctl_color(CTL_PLAIN));
}

/* ---- the last N ---- */

/* Where one of the last N stands. */
struct place {
    struct wal_mark before; /* its block */
    bool first;             /* there is nothing before its block */
    uint64_t index;
};

struct last {
    const struct history *history;
    struct place *ring;
    uint64_t size, seen;
};

static bool note_place(void *arg, const struct history_count *count)
{
    struct last *last = arg;

    last->ring[last->seen++ % last->size] =
        (struct place){count->before, !last->history->begun, count->index};
    return !interrupted;
}

/* Reads all there is, then stands where the last n begin; *skip: counts of the block there that go before. */
static enum ctl_exit seek_last(struct history *h, uint64_t n, uint64_t *skip)
{
    struct last last = {.history = h, .size = n};
    const struct place *place;
    enum ctl_exit code;

    if (n > LAST_MAX)
        return ctl_usage("--limit: expected at most %d", LAST_MAX);
    last.ring = calloc(n, sizeof *last.ring);
    if (last.ring == NULL) {
        ctl_complain("out of memory");
        return CTL_NOT_FINE;
    }
    code = history_read(h, note_place, &last);
    if (code == CTL_FINE && last.seen > 0) {
        place = &last.ring[last.seen > n ? last.seen % n : 0];
        *skip = place->index;
        h->at = place->before;
        h->begun = !place->first;
    }
    free(last.ring);
    return code;
}

/* ---- follow ---- */

static void tell_place(const struct history *h)
{
    char place[HISTORY_PLACE_SIZE];

    history_place_format(&h->at, place);
    if (h->begun)
        ctl_complain("to go on from here: --from %s", place);
}

static enum ctl_exit follow(struct history *h, struct printing *p)
{
    enum ctl_exit code = CTL_FINE;

    if (!h->ctl->node.running) {
        ctl_complain("the node is not running: nothing more will come");
        code = CTL_UNREACHABLE;
    }
    while (code == CTL_FINE && !interrupted && fflush(stdout) == 0 && !ctl_out_broken()) {
        poll(NULL, 0, FOLLOW_MS);
        code = history_read(h, print_count, p);
    }
    fflush(stdout);
    tell_place(h);
    return code;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static enum ctl_exit list(struct history *h, uint64_t limit, bool following)
{
    struct printing p = {.ctl = h->ctl, .places = following, .left = UINT64_MAX};
    enum ctl_exit code = CTL_FINE;

    if (limit != UINT64_MAX)
        code = seek_last(h, limit, &p.skip);
    /* What has come since the last N were looked for is not among them. */
    if (!following)
        p.left = limit;
    if (code != CTL_FINE)
        return code;
    print_head(h->ctl);
    code = history_read(h, print_count, &p);
    return code == CTL_FINE && following ? follow(h, &p) : code;
}

enum ctl_exit ctl_log(struct ctl *ctl)
{
    const char *from = ctl->words->option[CTL_OPT_FROM];
    bool following = ctl->words->option[CTL_OPT_FOLLOW] != NULL;
    struct history history = {.ctl = ctl};
    uint64_t limit;
    enum ctl_exit code;

    if (!ctl_limit(ctl, &limit) || !history_filter_read(ctl, &history.filter))
        return CTL_USAGE;
    if (following && history.filter.to)
        return ctl_usage("--follow has no end, and --until is one: give one of them");
    if (from != NULL && !history_place_read(from, &history.at))
        return ctl_usage("--from %.64s: expected a place as --follow tells it", from);
    history.begun = from != NULL;
    if (following)
        catch_signals();
    code = history_open(&history);
    if (code == CTL_FINE)
        code = list(&history, limit, following);
    history_close(&history);
    return code;
}

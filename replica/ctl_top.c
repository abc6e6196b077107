/* replica/ctl_top.c: tallyctl top: asks the node once a second, draws, and does what keys say, until one says to
 * quit. What is shown is made in ctl_top_figures.c and drawn in ctl_top_view.c. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/clock.h"
#include "replica/ctl.h"
#include "replica/ctl_changes.h"
#include "replica/ctl_live.h"
#include "replica/ctl_progress.h"
#include "replica/ctl_top_terminal.h"
#include "replica/ctl_verdict.h"

enum {
    SAMPLE_MS = 1000,
    /* For an answer: keys wait as long. */
    WAIT_MS = 400,
    PLAIN_ROWS = 24, /* where the cursor cannot be placed */
    PLAIN_COLUMNS = 79,
    PLAIN_SAMPLES = 5, /* between two pictures, there */
};

struct top {
    struct ctl *ctl;
    struct live live;
    struct changes changes;
    struct top_figures figures;
    struct top_screen screen;
    struct top_view view;
    uint64_t due_ms; /* the next sample */
    bool placed;     /* `changes` stands in the log of the process that answers */
    bool listed;     /* counters to begin with were asked for, and came */
    bool stale;      /* the screen does not show what is known */
    bool asked;      /* by a key, also where the picture is held */
    bool over;
    int stderr_fd; /* the real one, while complaints are kept; -1: they are not */
};

/* ---- a sample ---- */

static enum top_verdict verdict(const json_t *status, const json_t *peers,
                                struct top_moment *moment, json_t **problems)
{
    static const enum top_verdict words[] = {[VERDICT_OK] = TOP_OK,
                                             [VERDICT_ATTENTION] = TOP_ATTENTION,
                                             [VERDICT_NOT_OK] = TOP_NOT_OK};
    const struct verdict_around around = {
        .free = moment->disk_free, .size = moment->disk_size, .now_ms = moment->wall_ms};

    return words[verdict_of(status, peers, &around, problems)];
}

static void look_around(struct top_moment *moment)
{
    struct statvfs fs;

    *moment = (struct top_moment){.mono_ms = clock_mono_ms(), .wall_ms = clock_wall_ms()};
    if (statvfs(".", &fs) != 0)
        return;
    moment->disk_free = (uint64_t)fs.f_bavail * fs.f_frsize;
    moment->disk_size = (uint64_t)fs.f_blocks * fs.f_frsize;
}

/* Some counters to begin with: those that are counted come by themselves. */
static void take_page(struct top *t)
{
    json_t *reply = live_ask(&t->live, json_pack("{s:s}", "do", "counters"));
    const json_t *list = json_object_get(reply, "counters"), *counter;
    size_t i;

    json_array_foreach(list, i, counter)
    {
        const char *name = json_string_value(json_object_get(counter, "name"));

        if (name != NULL)
            top_counter_set(&t->figures, name, ctl_number(counter, "total"), true);
    }
    t->listed = reply != NULL;
    json_decref(reply);
}

/* What was counted since the last sample. All of it is looked at, and the totals are asked for at once. */
static void take_changes(struct top *t, const json_t *status)
{
    struct changes *c = &t->changes;

    if (!t->placed || changes_where(c, status) != HISTORY_HERE) {
        changes_skip(c, status);
        t->placed = true;
        t->listed = false;
        return;
    }
    do {
        if (changes_read(c, status) != CTL_FINE) {
            changes_skip(c, status);
            break;
        }
        (void)changes_totals(c, &t->live);
        for (const struct change *change = c->table; change != NULL;
             change = change->hh.next) {
            top_counter_add(&t->figures, change->name, change->counts);
            if (change->known)
                top_counter_set(&t->figures, change->name, change->total, true);
        }
        changes_clear(c);
    } while (c->more && !progress_interrupted());
}

static void sample(struct top *t)
{
    json_t *status = live_status(&t->live), *peers = NULL, *problems = NULL;
    struct top_moment moment;

    t->stale = true;
    /* Noted at once: what is asked next may stay without an answer. */
    if (status != NULL && t->live.changed)
        t->placed = false;
    if (status != NULL && ctl_number(json_object_get(status, "peers"), "count") > 0)
        peers = live_ask(&t->live, json_pack("{s:s}", "do", "peers"));
    if (status == NULL || t->live.lost) {
        top_miss(&t->figures, live_why(&t->live));
        json_decref(status);
        return;
    }
    take_changes(t, status);
    if (!t->listed)
        take_page(t);
    look_around(&moment);
    moment.verdict = verdict(status, peers, &moment, &problems);
    moment.problems = problems;
    top_take(&t->figures, status, peers, &moment);
    json_decref(problems);
    json_decref(peers);
    json_decref(status);
}

static void sample_if_due(struct top *t)
{
    uint64_t now = clock_mono_ms();

    if (now < t->due_ms)
        return;
    /* A second that was missed, because this was stopped, is missed. */
    t->due_ms = t->due_ms + SAMPLE_MS > now ? t->due_ms + SAMPLE_MS : now + SAMPLE_MS;
    sample(t);
}

static unsigned until_due(const struct top *t)
{
    uint64_t now = clock_mono_ms();

    return t->due_ms > now ? (unsigned)(t->due_ms - now) : 0;
}

/* ---- the picture ---- */

static void draw(struct top *t, int rows, int columns)
{
    char clock[CTL_TIME_SIZE];

    /* To the second: a picture is no older. */
    ctl_format_clock(clock_wall_ms(), clock);
    clock[strlen("2026-11-23 15:04:05")] = '\0';
    t->view.clock = clock;
    t->view.now_ms = clock_mono_ms();
    top_sort(&t->figures, t->view.sort);
    top_draw(&t->screen, rows, columns, &t->figures, &t->view);
    t->view.clock = NULL;
    t->stale = false;
}

/* ---- keys ---- */

static void type(struct top *t, int key)
{
    char *filter = t->view.filter;
    size_t len = strlen(filter);

    if (key == TOP_KEY_ESCAPE)
        filter[0] = '\0';
    if (key == TOP_KEY_ESCAPE || key == TOP_KEY_ENTER)
        t->view.asking = false;
    else if (key == TOP_KEY_ERASE && len > 0)
        filter[len - 1] = '\0';
    else if (key > ' ' && key < 0x7f && len < TOP_NAME) {
        filter[len] = (char)key;
        filter[len + 1] = '\0';
    }
}

static void scroll_by(struct top *t, int by)
{
    size_t back = by < 0 ? (size_t)-by : 0;

    if (by > 0)
        t->view.first += (size_t)by;
    else
        t->view.first = t->view.first > back ? t->view.first - back : 0;
}

static void command(struct top *t, int key)
{
    enum { PAGE = 10 };
    struct top_view *v = &t->view;

    switch (key) {
    case 'q':
    case 'Q':
        t->over = true;
        break;
    case 's':
        v->sort = (v->sort + 1) % TOP_SORTS;
        v->first = 0;
        break;
    case '/':
        v->asking = true;
        v->filter[0] = '\0';
        v->first = 0;
        break;
    case TOP_KEY_ESCAPE:
        v->filter[0] = '\0';
        break;
    case 'p':
    case ' ':
        v->paused = !v->paused;
        break;
    case '?':
    case 'h':
        v->page = TOP_PAGE_HELP;
        break;
    case TOP_KEY_UP:
        scroll_by(t, -1);
        break;
    case TOP_KEY_DOWN:
        scroll_by(t, 1);
        break;
    case TOP_KEY_PAGE_UP:
        scroll_by(t, -PAGE);
        break;
    case TOP_KEY_PAGE_DOWN:
        scroll_by(t, PAGE);
        break;
    default:
        break;
    }
}

static void take_key(struct top *t, int key)
{
    if (key == TOP_KEY_NONE)
        return;
    t->stale = true;
    t->asked = true;
    if (key == TOP_KEY_END)
        t->over = true;
    else if (key == TOP_KEY_RESIZE)
        return;
    else if (t->view.page == TOP_PAGE_HELP)
        t->view.page = TOP_PAGE_FIGURES;
    else if (t->view.asking)
        type(t, key);
    else
        command(t, key);
}

/* ---- complaints ---- */

/* Whatever is written to standard error would spoil the screen: it is kept, the last of it, and told at the end. */
static void keep_complaints(struct top *t)
{
    int kept = memfd_create("complaints", MFD_CLOEXEC);

    fflush(stderr);
    t->stderr_fd = kept < 0 ? -1 : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (t->stderr_fd >= 0)
        (void)dup2(kept, STDERR_FILENO);
    if (kept >= 0)
        close(kept);
}

static void trim_complaints(const struct top *t)
{
    enum { MOST = 4096 };

    if (t->stderr_fd < 0 || lseek(STDERR_FILENO, 0, SEEK_CUR) < MOST)
        return;
    if (ftruncate(STDERR_FILENO, 0) == 0)
        (void)lseek(STDERR_FILENO, 0, SEEK_SET);
}

static void tell_complaints(const struct top *t)
{
    char text[8192];
    ssize_t len;

    if (t->stderr_fd < 0)
        return;
    len = pread(STDERR_FILENO, text, sizeof text, 0);
    (void)dup2(t->stderr_fd, STDERR_FILENO);
    close(t->stderr_fd);
    if (len > 0)
        fwrite(text, 1, (size_t)len, stderr);
}

/* ---- the loop ---- */

static void run_screen(struct top *t)
{
    int rows, columns;

    keep_complaints(t);
    while (!t->over && !progress_interrupted()) {
        sample_if_due(t);
        if (t->stale && (!t->view.paused || t->asked)) {
            top_terminal_size(&rows, &columns);
            draw(t, rows, columns);
            top_terminal_show(&t->screen);
        }
        t->asked = false;
        trim_complaints(t);
        take_key(t, top_terminal_key(until_due(t)));
    }
    top_terminal_close();
    tell_complaints(t);
}

static void print_screen(const struct top_screen *s)
{
    for (int row = 0; row < s->rows; row++) {
        int end = s->columns;

        while (end > 0 && s->cell[row][end - 1].c == L' ')
            end--;
        for (int i = 0; i < end; i++)
            printf("%lc", (wint_t)s->cell[row][i].c);
        putchar('\n');
    }
    fflush(stdout);
}

/* One picture below another. */
static void run_plain(struct top *t)
{
    for (unsigned samples = 0; !progress_interrupted() && !ctl_out_broken(); samples++) {
        sample_if_due(t);
        if (samples % PLAIN_SAMPLES == 1) {
            draw(t, PLAIN_ROWS, PLAIN_COLUMNS);
            print_screen(&t->screen);
        }
        poll(NULL, 0, (int)until_due(t));
    }
}

/* The Linux console's own font has no blocks of eighths. */
static bool shows_blocks(void)
{
    const char *term = getenv("TERM");

    return ctl_out_utf8() && term != NULL && strcmp(term, "linux") != 0;
}

enum ctl_exit ctl_top(struct ctl *ctl)
{
    static struct top t; /* all zero; large */

    if (ctl->json || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return ctl_usage(
            "top draws on a terminal: for programs there are tallyctl --json "
            "status, tallyctl --json watch, and /metrics");
    if (!ctl->node.running) {
        ctl_complain(
            "the node is not running: tallyctl status tells what its files hold");
        return CTL_UNREACHABLE;
    }
    t.ctl = ctl;
    t.live = (struct live){.node = &ctl->node, .wait_ms = WAIT_MS};
    t.changes.history.ctl = ctl;
    t.view.utf8 = shows_blocks();
    t.due_ms = clock_mono_ms();
    t.stale = true;
    progress_catch(); /* before ncurses looks which signals nobody cares for */
    if (top_terminal_open(*ctl_color(CTL_BOLD) != '\0'))
        run_screen(&t);
    else
        run_plain(&t);
    changes_close(&t.changes);
    top_free(&t.figures);
    return CTL_FINE;
}

#include "replica/ctl_top_view.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wctype.h>

#include "replica/ctl_out.h"

enum {
    WIDE = 120,       /* columns from which graphs stand side by side */
    LABEL = 12,       /* columns of a graph's name */
    VALUE = 9,        /* and of its value */
    SCALE = 14,       /* and of what its top means */
    COUNTERS_MIN = 4, /* rows, the head included */
    GRAPH_ROWS_MAX = 8,
    PATIENCE_MS = 2500,
    AIRY = 36,      /* rows from which some may stay empty */
    GRAPH_MIN = 12, /* columns of a graph, rather than its scale */
    TALL = 3,       /* rows of a graph from which one of them is for its name */
};

/* ---- numbers ---- */

static void put_commas(uint64_t number, bool minus, char out[TOP_NUMBER_SIZE])
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, number), at = 0;

    if (minus)
        out[at++] = '-';
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
}

static void put_short(double number, char out[TOP_NUMBER_SIZE])
{
    static const char units[] = "kMGTPE";
    size_t unit = 0;
    double size = fabs(number) / 1000;

    for (; size >= 999.5 && units[unit + 1] != '\0'; unit++)
        size /= 1000;
    snprintf(out, TOP_NUMBER_SIZE, "%s%.*f%c", number < 0 ? "-" : "",
             size < 9.995   ? 2
             : size < 99.95 ? 1
                            : 0,
             size, units[unit]);
}

void top_format_whole(int64_t number, int width, char out[TOP_NUMBER_SIZE])
{
    uint64_t size = number < 0 ? -(uint64_t)number : (uint64_t)number;

    put_commas(size, number < 0, out);
    if ((int)strlen(out) > width)
        put_short((double)number, out);
}

void top_format_rate(double rate, int width, char out[TOP_NUMBER_SIZE])
{
    if (isnan(rate))
        snprintf(out, TOP_NUMBER_SIZE, "-");
    else if (rate > 0 && rate < 9.95)
        snprintf(out, TOP_NUMBER_SIZE, "%.1f", rate);
    else if (rate < 1e15)
        top_format_whole((int64_t)(rate + 0.5), width, out);
    else
        put_short(rate, out);
}

void top_format_us(double us, bool utf8, char out[TOP_NUMBER_SIZE])
{
    if (isnan(us))
        snprintf(out, TOP_NUMBER_SIZE, "-");
    else if (us < 999.5)
        snprintf(out, TOP_NUMBER_SIZE, "%.0f %ss", us, utf8 ? "\xc2\xb5" : "u");
    else if (us < 999500)
        snprintf(out, TOP_NUMBER_SIZE, us < 9950 ? "%.1f ms" : "%.0f ms", us / 1000);
    else
        snprintf(out, TOP_NUMBER_SIZE, us < 9950000 ? "%.1f s" : "%.0f s", us / 1e6);
}

/* ---- the screen ---- */

static void put_cell(struct top_screen *s, int row, int column, wchar_t c,
                     enum top_style style)
{
    if (row >= 0 && row < s->rows && column >= 0 && column < s->columns)
        s->cell[row][column] = (struct top_cell){c, style};
}

static bool may_show(wchar_t c, bool utf8)
{
    if (c >= 0x20 && c < 0x7f)
        return true;
    return utf8 && iswprint((wint_t)c) && wcwidth(c) == 1;
}

/* UTF-8, whatever the locale is: one character; '?': it is none. */
static wchar_t next_char(const char **text)
{
    const unsigned char *at = (const unsigned char *)*text;
    int more = at[0] < 0x80   ? 0
               : at[0] < 0xc2 ? -1
               : at[0] < 0xe0 ? 1
               : at[0] < 0xf0 ? 2
                              : 3;
    wchar_t c = more <= 0 ? at[0] : at[0] & (0x3f >> more);

    for (int i = 1; i <= more; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            more = -1;
            break;
        }
        c = (wchar_t)(c << 6 | (at[i] & 0x3f));
    }
    *text += more < 0 ? 1 : more + 1;
    return more < 0 ? L'?' : c;
}

/* At most `width` columns; a text that is longer ends in "~". Returns how many it took. */
static int put_text(struct top_screen *s, const struct top_view *v, int row, int column,
                    int width, enum top_style style, const char *text)
{
    int at = 0;

    for (; *text != '\0' && at < width; at++) {
        wchar_t c = next_char(&text);

        if (!may_show(c, v->utf8))
            c = L'?';
        if (at == width - 1 && *text != '\0')
            c = L'~';
        put_cell(s, row, column + at, c, style);
    }
    return at;
}

__attribute__((format(printf, 7, 8))) static int
put(struct top_screen *s, const struct top_view *v, int row, int column, int width,
    enum top_style style, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return put_text(s, v, row, column, width, style, text);
}

static int columns_of(const char *text)
{
    int columns = 0;

    for (; *text != '\0'; columns++)
        next_char(&text);
    return columns;
}

static void put_right(struct top_screen *s, const struct top_view *v, int row, int end,
                      int width, enum top_style style, const char *text)
{
    int columns = columns_of(text);

    if (columns > width)
        columns = width;
    put_text(s, v, row, end - columns, columns, style, text);
}

static void fill_row(struct top_screen *s, int row, enum top_style style)
{
    for (int i = 0; i < s->columns; i++)
        put_cell(s, row, i, L' ', style);
}

/* ---- graphs ---- */

/* How full a cell is, in eighths. */
static wchar_t block(int eighths, bool utf8)
{
    static const char ascii[] = " _.:-=+*#";

    if (utf8 && eighths > 0)
        return (wchar_t)(0x2580 + eighths);
    return (wchar_t)ascii[eighths];
}

/* One column of it: nothing where the value is not known, a line where it is 0. Anything above 0 is higher than that.
 * Full blocks would melt into the row above. */
static void put_column(struct top_screen *s, const struct top_view *v, int row,
                       int height, int column, double value, double most,
                       enum top_style style)
{
    int units = 0, top = 8 * height - v->utf8;

    if (!isnan(value))
        units = value <= 0 || most <= 0 ? 1 : 1 + (int)ceil(value / most * (top - 1));
    if (units > top)
        units = top;
    for (int i = 0; i < height; i++) {
        int eighths = units - 8 * i;

        eighths = eighths < 0 ? 0 : eighths > 8 ? 8 : eighths;
        put_cell(s, row + height - 1 - i, column, block(eighths, v->utf8),
                 value > 0 ? style : TOP_FAINT);
    }
}

struct graph {
    const char *name;
    const struct top_series *series;
    char now[TOP_NUMBER_SIZE], most[TOP_NUMBER_SIZE];
    double top; /* of the scale */
};

static void put_columns(struct top_screen *s, const struct top_view *v,
                        const struct graph *g, int row, int column, int width, int height)
{
    for (int i = 0; i < width; i++)
        put_column(s, v, row, height, column + width - 1 - i,
                   top_series_at(g->series, (unsigned)i), g->top, TOP_GRAPH);
}

/* A tall one has a line of its own for the name, and so all the width. */
static void put_tall_graph(struct top_screen *s, const struct top_view *v,
                           const struct graph *g, int row, int column, int width,
                           int height)
{
    put_text(s, v, row, column, LABEL - 1, TOP_PLAIN, g->name);
    put_right(s, v, row, column + LABEL + VALUE, VALUE, TOP_STRONG, g->now);
    if (g->top > 0)
        put(s, v, row, column + LABEL + VALUE + 3, width - LABEL - VALUE - 3, TOP_FAINT,
            "max %s, last %d s", g->most, width);
    put_columns(s, v, g, row + 1, column, width, height - 1);
}

/* Columns of the graph itself, where it is not tall; scale: there is room to say what its top means. */
static int short_columns(int width, bool *scale)
{
    int columns = width - LABEL - VALUE - 1;

    *scale = columns - SCALE >= GRAPH_MIN;
    if (*scale)
        columns -= SCALE;
    return columns > 0 ? columns : 0;
}

/* Name and value on the left, what its top means on the right; newest at the right. */
static void put_graph(struct top_screen *s, const struct top_view *v,
                      const struct graph *g, int row, int column, int width, int height)
{
    int end = LABEL + VALUE < width ? LABEL + VALUE : width, columns;
    bool scale;

    columns = short_columns(width, &scale);
    put_text(s, v, row, column, LABEL - 1, TOP_PLAIN, g->name);
    put_right(s, v, row, column + end, VALUE, TOP_STRONG, g->now);
    if (scale && g->top > 0)
        put(s, v, row, column + width - SCALE, SCALE, TOP_FAINT, " max %s", g->most);
    put_columns(s, v, g, row, column + LABEL + VALUE + 1, columns, height);
}

/* How far back the graph goes: so far the scale is looked for. */
static unsigned graph_columns(int width, int height)
{
    bool scale;

    return (unsigned)(height >= TALL ? width : short_columns(width, &scale));
}

static struct graph rate_graph(const char *name, const struct top_series *series,
                               unsigned columns)
{
    struct graph g = {.name = name, .series = series};

    g.top = top_series_max(series, columns);
    top_format_rate(top_series_now(series), VALUE, g.now);
    top_format_rate(g.top, VALUE, g.most);
    return g;
}

static struct graph time_graph(const char *name, const struct top_series *series,
                               double now_us, unsigned columns, bool utf8)
{
    struct graph g = {.name = name, .series = series};

    g.top = top_series_max(series, columns);
    top_format_us(now_us, utf8, g.now);
    top_format_us(g.top, utf8, g.most);
    return g;
}

/* ---- how the rows are shared out ---- */

struct plan {
    int graphs, height, columns; /* of each; columns: side by side */
    int facts;                   /* rows */
    bool gaps, air;              /* air: rows around the graphs, too */
    int peers;                   /* rows, its head included; 0: none */
    int counters;                /* rows, its head included */
    bool footer;
};

enum { GRAPHS = 6 };

/* In a column alone, what the log does has no room; without others there is nothing to tell of them. */
static int graphs_of(int columns, const struct top_figures *f)
{
    return GRAPHS - (columns < WIDE) - (f->peers == 0);
}

/* Rows that counters keep before graphs grow beyond `height`. */
static int counters_rows(size_t counters, int height)
{
    int enough = 6 + 4 * height, all = counters < 1000 ? (int)counters + 1 : 1000;
    int rows = all < enough ? all : enough;

    return rows > COUNTERS_MIN ? rows : COUNTERS_MIN;
}

/* Of `rows`, which the verdict has left: what a call notices comes first. */
static struct plan plan_of(int rows, int columns, const struct top_figures *f)
{
    struct plan p = {.graphs = graphs_of(columns, f),
                     .height = 1,
                     .columns = columns >= WIDE ? 2 : 1,
                     .facts = 2,
                     .gaps = true,
                     .air = rows >= AIRY,
                     .footer = rows >= 5};
    int peers = f->peers > 0 ? (int)f->peers + 1 : 0, left, lines;

    rows -= p.footer;
    if (rows < 16) {
        p.gaps = false;
        p.facts = rows >= 12;
        p.graphs = rows >= 10 ? p.graphs : rows > 3 ? 3 : rows;
    }
    lines = (p.graphs + p.columns - 1) / p.columns;
    left = rows - lines - p.facts - (p.gaps ? 1 + (peers > 0) : 0) - 2 * p.air;
    p.peers = peers < left - COUNTERS_MIN ? peers : left - COUNTERS_MIN;
    if (p.peers < 2)
        p.peers = peers > 0 && left >= 6 ? 2 : 0;
    left -= p.peers;
    while (p.height < GRAPH_ROWS_MAX &&
           left - lines >= counters_rows(f->counters, p.height)) {
        left -= lines;
        p.height++;
    }
    p.counters = left > 0 ? left : 0;
    return p;
}

/* ---- its parts, from above ---- */

static void draw_head(struct top_screen *s, const struct top_view *v,
                      const struct top_figures *f)
{
    char span[CTL_SPAN_SIZE] = "";
    int at;

    fill_row(s, 0, TOP_HEAD);
    at = put(s, v, 0, 1, s->columns - 1, TOP_HEAD, "tally  %s", f->node);
    if (f->heard) {
        ctl_format_span(f->up_ms, span);
        at += put(s, v, 0, 1 + at, s->columns - 1 - at, TOP_HEAD, "   %s   up %s",
                  f->numbers, span);
    }
    if (v->paused)
        put(s, v, 0, 1 + at, s->columns - 1 - at, TOP_HEAD, "   PAUSED");
    if (v->clock != NULL && s->columns >= 60)
        put_right(s, v, 0, s->columns - 1, s->columns - 2 - at, TOP_HEAD, v->clock);
}

/* Broken at blanks into at most `rows` rows. How many it took. */
static int put_wrapped(struct top_screen *s, const struct top_view *v, int row,
                       int column, int rows, enum top_style style, const char *text)
{
    int width = s->columns - column, used = 0;

    while (*text != '\0' && used < rows) {
        int len = (int)strlen(text), cut = len;
        char line[TOP_TEXT + 1];

        if (len > width && used < rows - 1) {
            for (cut = width; cut > 0 && text[cut] != ' ';)
                cut--;
            cut = cut == 0 ? width : cut;
        }
        snprintf(line, sizeof line, "%.*s", cut, text);
        put_text(s, v, row + used++, column, width, style, line);
        text += cut;
        text += strspn(text, " ");
    }
    return used;
}

/* A sync that takes long makes the state process late: one missed answer is no news. */
static bool is_lost(const struct top_view *v, const struct top_figures *f)
{
    return f->lost && (!f->heard || v->now_ms > f->heard_ms + PATIENCE_MS);
}

static int draw_lost(struct top_screen *s, const struct top_view *v,
                     const struct top_figures *f)
{
    char text[TOP_TEXT + 100], span[CTL_SPAN_SIZE];

    ctl_format_span(v->now_ms > f->heard_ms ? v->now_ms - f->heard_ms : 0, span);
    if (f->heard)
        snprintf(text, sizeof text,
                 "NO ANSWER: the node %s; last heard %s ago, and this is how it was",
                 f->why, span);
    else
        snprintf(text, sizeof text, "NO ANSWER: the node %s", f->why);
    return put_wrapped(s, v, 1, 0, 2, TOP_BAD, text);
}

static int draw_problem(struct top_screen *s, const struct top_view *v,
                        const struct top_figures *f, int rows)
{
    bool bad = f->verdict == TOP_NOT_OK;
    char text[TOP_TEXT + 64];
    int used;

    snprintf(text, sizeof text, "%s: %s", bad ? "NOT OK" : "ATTENTION", f->what);
    used = put_wrapped(s, v, 1, 0, rows > 3 ? 2 : 1, bad ? TOP_BAD : TOP_WARN, text);
    snprintf(text, sizeof text, "%s", f->todo);
    if (f->problems > 1)
        snprintf(text, sizeof text, "%s (%zu more: tallyctl status)", f->todo,
                 f->problems - 1);
    if (rows > 3)
        used += put_wrapped(s, v, 1 + used, 2, 2, TOP_PLAIN, text);
    return used;
}

/* How many rows it took. */
static int draw_verdict(struct top_screen *s, const struct top_view *v,
                        const struct top_figures *f)
{
    int at;

    if (is_lost(v, f))
        return draw_lost(s, v, f);
    if (!f->heard)
        return put(s, v, 1, 0, s->columns, TOP_PLAIN, "asking the node ...") > 0;
    if (f->verdict != TOP_OK)
        return draw_problem(s, v, f, s->rows - 8);
    at = put(s, v, 1, 0, s->columns, TOP_GOOD, "OK");
    at += put(s, v, 1, at, s->columns - at, TOP_PLAIN, ": %s counts", f->node);
    if (f->peers_all > 0)
        put(s, v, 1, at, s->columns - at, TOP_PLAIN, ", %zu of %zu peers are connected",
            f->peers_connected, f->peers_all);
    return 1;
}

static int draw_graphs(struct top_screen *s, const struct top_view *v,
                       const struct top_figures *f, const struct plan *p, int row)
{
    int gap = p->columns > 1 ? 2 : 0, width = (s->columns - gap) / p->columns;
    unsigned columns = graph_columns(width, p->height);
    struct graph graph[GRAPHS];
    int count = 0, down;

    graph[count++] = rate_graph("calls/s", &f->calls, columns);
    graph[count++] = rate_graph("counts/s", &f->counts, columns);
    if (f->peers > 0 && p->graphs > 3)
        graph[count++] = rate_graph("all nodes/s", &f->all_counts, columns);
    graph[count++] =
        time_graph("answer p50", &f->p50_us, f->p50_now_us, columns, v->utf8);
    graph[count++] =
        time_graph("answer p99", &f->p99_us, f->p99_now_us, columns, v->utf8);
    if (p->columns > 1)
        graph[count++] = time_graph("commit p99", &f->commit_p99_us, f->commit_now_us,
                                    columns, v->utf8);
    if (p->graphs == 3) /* what is slow is worth more than what is usual */
        graph[2] = graph[3];
    down = (p->graphs + p->columns - 1) / p->columns;
    for (int i = 0; i < p->graphs && i < count; i++)
        (p->height >= TALL ? put_tall_graph
                           : put_graph)(s, v, &graph[i], row + i % down * p->height,
                                        i / down * (width + gap), width, p->height);
    return down * p->height;
}

static void put_fact(struct top_screen *s, const struct top_view *v, int row, int *at,
                     const char *name, enum top_style style, const char *value)
{
    if (*at > 0)
        *at += 3;
    if (*at + columns_of(name) + 1 + columns_of(value) > s->columns)
        return;
    *at += put(s, v, row, *at, s->columns - *at, TOP_FAINT, "%s ", name);
    *at += put(s, v, row, *at, s->columns - *at, style, "%s", value);
}

static void put_fact_number(struct top_screen *s, const struct top_view *v, int row,
                            int *at, const char *name, uint64_t number, double now)
{
    char value[TOP_NUMBER_SIZE];

    top_format_whole((int64_t)number, 11, value);
    put_fact(s, v, row, at, name, now > 0 ? TOP_BAD : TOP_PLAIN, value);
}

static void draw_calls(struct top_screen *s, const struct top_view *v,
                       const struct top_figures *f, int row)
{
    char text[TOP_NUMBER_SIZE];
    int at = 0;

    put_fact_number(s, v, row, &at, "open", f->open, 0);
    put_fact_number(s, v, row, &at, "taken", f->taken, 0);
    put_fact_number(s, v, row, &at, "failed", f->failed, f->failed_rate);
    put_fact_number(s, v, row, &at, "refused", f->refused, f->refused_rate);
    top_format_us(f->commit_now_us, v->utf8, text);
    put_fact(s, v, row, &at, "commit p99", TOP_PLAIN, text);
}

static void draw_store(struct top_screen *s, const struct top_view *v,
                       const struct top_figures *f, int row)
{
    char size[CTL_SIZE_SIZE], span[CTL_SPAN_SIZE], text[96];
    double written = top_series_now(&f->log_bytes);
    int at = 0;

    ctl_format_size(f->log_kept, size);
    put_fact(s, v, row, &at, "log", TOP_PLAIN, size);
    ctl_format_size(isnan(written) ? 0 : (uint64_t)written, size);
    snprintf(text, sizeof text, "%s/s", size);
    put_fact(s, v, row, &at, "written", TOP_PLAIN, text);
    snprintf(text, sizeof text, "none yet");
    if (f->checkpoint > 0)
        snprintf(text, sizeof text, "%" PRIu64, f->checkpoint);
    if (f->checkpoint > 0 && f->checkpoint_ms >= 0) {
        ctl_format_span((uint64_t)f->checkpoint_ms, span);
        snprintf(text, sizeof text, "%" PRIu64 ", %s ago", f->checkpoint, span);
    }
    put_fact(s, v, row, &at, "checkpoint", TOP_PLAIN, text);
    if (f->disk_size == 0)
        return;
    ctl_format_size(f->disk_free, size);
    put_fact(s, v, row, &at, "disk free", TOP_PLAIN, size);
}

static int widest(int least, int most, int found)
{
    return found < least ? least : found > most ? most : found;
}

/* Behind these, a trend has the rest of the row. */
struct peer_columns {
    int name, state, heard, behind, trend;
};

static struct peer_columns peer_columns(const struct top_screen *s,
                                        const struct top_figures *f)
{
    struct peer_columns c = {0};

    for (size_t i = 0; i < f->peers; i++) {
        int columns = columns_of(f->peer[i].name);

        c.name = columns > c.name ? columns : c.name;
    }
    c.name = widest(LABEL - 1, s->columns >= WIDE ? TOP_NAME : 22, c.name);
    c.state = c.name + 2;
    c.heard = c.state + 12 + 9; /* ends there */
    c.behind = c.heard + 11;    /* likewise */
    c.trend = c.behind + 2;
    return c;
}

static void draw_peer(struct top_screen *s, const struct top_view *v,
                      const struct top_peer *peer, const struct peer_columns *c, int row)
{
    int columns = s->columns - c->trend;
    double most = top_series_max(&peer->lag, (unsigned)(columns > 0 ? columns : 0));
    char text[TOP_NUMBER_SIZE] = "-", span[CTL_SPAN_SIZE] = "never";
    bool behind = peer->behind > 0;

    put_text(s, v, row, 0, c->name, TOP_PLAIN, peer->name);
    put_text(s, v, row, c->state, 12, peer->well ? TOP_GOOD : TOP_BAD, peer->state);
    if (peer->heard_ms >= 0)
        ctl_format_span((uint64_t)peer->heard_ms, span);
    put_right(s, v, row, c->heard, 9, peer->well ? TOP_PLAIN : TOP_BAD, span);
    if (peer->behind >= 0)
        top_format_whole(peer->behind, 10, text);
    put_right(s, v, row, c->behind, 10, behind ? TOP_STRONG : TOP_PLAIN, text);
    /* A few blocks are always on their way: they are no mountain. */
    for (int i = 0; i < columns; i++)
        put_column(s, v, row, 1, s->columns - 1 - i,
                   top_series_at(&peer->lag, (unsigned)i), most > 16 ? most : 16,
                   peer->well ? TOP_GRAPH : TOP_BAD);
}

static void draw_peers(struct top_screen *s, const struct top_view *v,
                       const struct top_figures *f, int row, int rows)
{
    struct peer_columns c = peer_columns(s, f);
    int shown = rows - 1 < (int)f->peers ? rows - 1 : (int)f->peers;

    fill_row(s, row, TOP_HEAD);
    put(s, v, row, 0, c.name, TOP_HEAD, "peer");
    if (shown < (int)f->peers)
        put(s, v, row, 5, c.name, TOP_HEAD, "%d of %zu", shown, f->peers);
    put_text(s, v, row, c.state, 12, TOP_HEAD, "state");
    put_right(s, v, row, c.heard, 9, TOP_HEAD, "heard ago");
    put_right(s, v, row, c.behind, 10, TOP_HEAD, "behind");
    put(s, v, row, c.trend, s->columns - c.trend, TOP_HEAD, "behind, last %d s",
        s->columns - c.trend);
    for (int i = 0; i < shown; i++)
        draw_peer(s, v, &f->peer[i], &c, row + 1 + i);
}

/* ---- counters ---- */

struct counter_columns {
    int name, total, rate, trend; /* total, rate: where they end */
};

static bool chosen(const struct top_view *v, const struct top_counter *counter)
{
    return v->filter[0] == '\0' || strstr(counter->name, v->filter) != NULL;
}

static struct counter_columns counter_columns(const struct top_screen *s,
                                              const struct top_view *v,
                                              const struct top_figures *f)
{
    struct counter_columns c = {0};
    int width = 19; /* a total has 19 digits, at most, and 6 commas */

    for (size_t i = 0; i < f->counters; i++) {
        int columns = chosen(v, f->counter[i]) ? columns_of(f->counter[i]->name) : 0;

        c.name = columns > c.name ? columns : c.name;
    }
    c.name = widest(LABEL - 1, s->columns >= WIDE ? TOP_NAME : s->columns / 3, c.name);
    if (s->columns < 60)
        width = 11;
    if (s->columns >= WIDE)
        width = 26;
    c.total = c.name + 1 + width;
    c.rate = c.total + 11;
    c.trend = c.rate + 2;
    return c;
}

static void draw_counter(struct top_screen *s, const struct top_view *v,
                         const struct top_counter *counter,
                         const struct counter_columns *c, int row)
{
    char text[TOP_NUMBER_SIZE] = "-";
    int columns = s->columns - c->trend;
    double most = 0;

    columns = columns > TOP_TREND ? TOP_TREND : columns;
    for (int i = 0; i < columns; i++)
        most = (double)counter->trend[i] > most ? (double)counter->trend[i] : most;
    put_text(s, v, row, 0, c->name, TOP_PLAIN, counter->name);
    if (counter->known)
        top_format_whole(counter->total, c->total - c->name - 1, text);
    put_right(s, v, row, c->total, c->total - c->name - 1, TOP_STRONG, text);
    top_format_rate((double)counter->rate, 9, text);
    put_right(s, v, row, c->rate, 10, counter->rate > 0 ? TOP_STRONG : TOP_FAINT, text);
    for (int i = 0; i < columns; i++)
        put_column(s, v, row, 1, c->trend + columns - 1 - i, (double)counter->trend[i],
                   most, TOP_GRAPH);
}

static size_t chosen_count(const struct top_view *v, const struct top_figures *f)
{
    size_t count = 0;

    for (size_t i = 0; i < f->counters; i++)
        count += chosen(v, f->counter[i]);
    return count;
}

static void draw_counters_head(struct top_screen *s, const struct top_view *v,
                               const struct counter_columns *c, int row)
{
    static const char *const marks[TOP_SORTS][3] = {
        [TOP_BY_RATE] = {"counter", "total", "counts/s*"},
        [TOP_BY_TOTAL] = {"counter", "total*", "counts/s"},
        [TOP_BY_NAME] = {"counter*", "total", "counts/s"}};

    fill_row(s, row, TOP_HEAD);
    put_text(s, v, row, 0, c->name, TOP_HEAD, marks[v->sort][0]);
    put_right(s, v, row, c->total, 19, TOP_HEAD, marks[v->sort][1]);
    put_right(s, v, row, c->rate, 10, TOP_HEAD, marks[v->sort][2]);
    put(s, v, row, c->trend, s->columns - c->trend, TOP_HEAD, "last %d s",
        s->columns - c->trend < TOP_TREND ? s->columns - c->trend : TOP_TREND);
}

static void draw_counters(struct top_screen *s, struct top_view *v,
                          const struct top_figures *f, int row, int rows)
{
    struct counter_columns c = counter_columns(s, v, f);
    size_t count = chosen_count(v, f), room = (size_t)(rows - 1), skipped = 0;
    int used = 1;

    if (v->first + room > count)
        v->first = count > room ? count - room : 0;
    draw_counters_head(s, v, &c, row);
    for (size_t i = 0; i < f->counters && used < rows; i++) {
        if (!chosen(v, f->counter[i]) || skipped++ < v->first)
            continue;
        draw_counter(s, v, f->counter[i], &c, row + used++);
    }
    if (count == 0 && rows > 1)
        put(s, v, row + 1, 0, s->columns, TOP_FAINT, "%s",
            v->filter[0] != '\0' ? "no counter has that in its name"
                                 : "nothing was counted yet");
}

/* ---- all of it ---- */

static void draw_footer(struct top_screen *s, const struct top_view *v,
                        const struct top_figures *f)
{
    static const char *const orders[TOP_SORTS] = {"rate", "total", "name"};
    size_t count = chosen_count(v, f);
    char text[160];
    int row = s->rows - 1;

    fill_row(s, row, TOP_HEAD);
    if (v->asking) {
        put(s, v, row, 1, s->columns - 1, TOP_HEAD, "part of the counters' names: %s_",
            v->filter);
        return;
    }
    put(s, v, row, 1, s->columns - 1, TOP_HEAD,
        "q quit   s sort: %s   / filter%s%s   p pause   ? help", orders[v->sort],
        v->filter[0] != '\0' ? ": " : "", v->filter);
    snprintf(text, sizeof text, "%zu of %zu counters", count,
             f->counters_all > count ? (size_t)f->counters_all : count);
    if (s->columns >= 76)
        put_right(s, v, row, s->columns - 1, 24, TOP_HEAD, text);
}

static void draw_help(struct top_screen *s, const struct top_view *v)
{
    static const char *const lines[] = {
        "q, Ctrl-C      quit",
        "s              sort counters by rate, by total, or by name",
        "/              show counters with a text in their name; Esc: all",
        "arrows, Page   further counters",
        "p, blank       hold the picture; again: go on",
        "?              this; any key ends it",
        "",
        "A column of a graph is a second, the newest at the right; nothing: not known.",
        "calls/s        FastAGI connections that this node takes",
        "counts/s       counts that its calls ask for",
        "all nodes/s    counts of the whole cluster, as they come to be known here",
        "answer p50     half of the counts are answered, durably, within this",
        "answer p99     all but one in a hundred are",
        "commit p99     the same of writing and syncing the log",
        "behind         blocks that the peer lacks, as far as it has said",
    };

    put_text(s, v, 1, 0, s->columns, TOP_STRONG, "Keys and figures");
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        put_text(s, v, 3 + (int)i, 2, s->columns - 2, TOP_PLAIN, lines[i]);
}

static void clear(struct top_screen *s, int rows, int columns)
{
    s->rows = rows < TOP_ROWS_MAX ? rows : TOP_ROWS_MAX;
    s->columns = columns < TOP_COLUMNS_MAX ? columns : TOP_COLUMNS_MAX;
    for (int i = 0; i < s->rows; i++)
        fill_row(s, i, TOP_PLAIN);
}

static void draw_figures(struct top_screen *s, const struct top_figures *f,
                         struct top_view *v)
{
    int row = 1 + draw_verdict(s, v, f);
    struct plan p = plan_of(s->rows - row, s->columns, f);

    if (p.footer)
        draw_footer(s, v, f);
    if (!f->heard)
        return;
    row += p.air;
    row += draw_graphs(s, v, f, &p, row) + p.air;
    if (p.facts > 0)
        draw_calls(s, v, f, row++);
    if (p.facts > 1)
        draw_store(s, v, f, row++);
    row += p.gaps;
    if (p.peers > 0)
        draw_peers(s, v, f, row, p.peers);
    row += p.peers + (p.gaps && p.peers > 0);
    if (p.counters > 0)
        draw_counters(s, v, f, row, p.counters);
}

void top_draw(struct top_screen *screen, int rows, int columns,
              const struct top_figures *figures, struct top_view *view)
{
    clear(screen, rows, columns);
    draw_head(screen, view, figures);
    if (view->page == TOP_PAGE_HELP)
        draw_help(screen, view);
    else
        draw_figures(screen, figures, view);
}

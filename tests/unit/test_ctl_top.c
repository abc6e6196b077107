/* tests/unit/test_ctl_top.c: what top makes of a node's answers, and how that looks: whole screens, compared with
 * those in tests/unit/screens, of which TALLY_SCREENS_WRITE=1 makes the missing ones. */
#include <criterion/criterion.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/ctl_top_view.h"

static struct top_figures f;
static struct top_screen screen;
static struct top_view view = {.clock = "2026-11-23 15:04:05"};

static void begin(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
}

static void end(void)
{
    top_free(&f);
}

TestSuite(ctl_top, .init = begin, .fini = end);

/* ---- a node's answers ---- */

static json_t *times_of(uint64_t fast, uint64_t slow)
{
    json_t *number = json_array();

    for (size_t i = 0; i < TIMES_BUCKETS; i++)
        json_array_append_new(number, json_integer(i == 3   ? (json_int_t)fast
                                                   : i == 6 ? (json_int_t)slow
                                                            : 0));
    return json_pack("{s:o}", "number", number);
}

/* After so many seconds of so many calls and counts in all. */
static json_t *status_of(json_int_t calls, json_int_t counts, size_t peers)
{
    return json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:{s:I, s:I}, s:{s:I, s:I}, s:{s:I, s:I}, "
        "s:{s:I, s:I, s:I, s:I, s:I, s:o}, s:o}",
        "node", "alpha", "numbers", peers > 0 ? "PROVISIONAL" : "FINAL", "pid",
        (json_int_t)7, "started_ms", (json_int_t)1000, "counters", (json_int_t)12,
        "counts", 3 * counts, "log", "first", (json_int_t)0, "end",
        counts < 1 << 30 ? 100 * counts : counts, "checkpoint", "number", (json_int_t)12,
        "made_ms", (json_int_t)1000, "peers", "count", (json_int_t)peers, "connected",
        (json_int_t)peers, "calls", "taken", calls, "open", (json_int_t)3, "failed",
        (json_int_t)1, "refused", (json_int_t)0, "counts", counts, "answers",
        times_of((uint64_t)counts, (uint64_t)counts / 20), "commit_times",
        times_of((uint64_t)counts / 5, 0));
}

static json_t *peers_of(size_t count, json_int_t behind)
{
    json_t *list = json_array();
    char name[16];

    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "node-%zu", i + 2);
        json_array_append_new(
            list, json_pack("{s:s, s:b, s:b, s:I, s:I}", "name", name, "reached", i != 1,
                            "connected", i != 1, "behind", behind * (json_int_t)i,
                            "heard_ms", (json_int_t)(i == 1 ? 65000 : 200)));
    }
    return json_pack("{s:o}", "peers", list);
}

static void sample_at(uint64_t second, json_int_t calls, json_int_t counts, size_t peers,
                      json_int_t behind, const struct top_moment *like)
{
    json_t *status = status_of(calls, counts, peers);
    json_t *others = peers > 0 ? peers_of(peers, behind) : NULL;
    struct top_moment moment = *like;

    moment.mono_ms = 1000 * second;
    moment.wall_ms = 1000 * second + 1000;
    top_take(&f, status, others, &moment);
    view.now_ms = moment.mono_ms;
    json_decref(status);
    json_decref(others);
}

static const struct top_moment quiet = {.disk_free = UINT64_C(7) << 30,
                                        .disk_size = UINT64_C(40) << 30};

/* A minute under load that rises and falls. */
static void busy_minute(size_t peers)
{
    static const char *const names[] = {"tickets", "vote-1", "vote-2", "radio", "hits"};
    json_int_t calls = 1000, counts = 2000;

    for (uint64_t second = 0; second < 60; second++) {
        json_int_t now = 40 + (json_int_t)(second < 30 ? second : 60 - second) * 9;

        calls += now;
        counts += 2 * now;
        for (size_t i = 0; i < 5; i++)
            top_counter_add(&f, names[i], (uint64_t)now >> i);
        sample_at(second, calls, counts, peers, (json_int_t)(second % 20), &quiet);
        for (size_t i = 0; i < 5; i++)
            top_counter_set(&f, names[i], counts >> i, true);
    }
    top_sort(&f, TOP_BY_RATE);
}

/* ---- screens ---- */

static void put_utf8(FILE *to, wchar_t c)
{
    if (c < 0x80)
        fprintf(to, "%c", (char)c);
    else if (c < 0x800)
        fprintf(to, "%c%c", (char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f)));
    else
        fprintf(to, "%c%c%c", (char)(0xe0 | c >> 12), (char)(0x80 | (c >> 6 & 0x3f)),
                (char)(0x80 | (c & 0x3f)));
}

/* Rows without the blanks at their ends; to be freed. */
static char *text_of_screen(void)
{
    char *text;
    size_t len;
    FILE *to = open_memstream(&text, &len);

    for (int row = 0; row < screen.rows; row++) {
        int columns = screen.columns;

        while (columns > 0 && screen.cell[row][columns - 1].c == L' ')
            columns--;
        for (int i = 0; i < columns; i++)
            put_utf8(to, screen.cell[row][i].c);
        fputc('\n', to);
    }
    fclose(to);
    return text;
}

static void expect_screen(const char *name, int rows, int columns)
{
    char path[512], held[64 * 1024] = "", *text;
    size_t len = 0;
    FILE *file;

    top_draw(&screen, rows, columns, &f, &view);
    text = text_of_screen();
    snprintf(path, sizeof path, "%s/unit/screens/%s.txt", TESTS_DIR, name);
    file = fopen(path, "r");
    if (file == NULL && getenv("TALLY_SCREENS_WRITE") != NULL) {
        file = fopen(path, "w+");
        cr_assert_not_null(file);
        fputs(text, file);
        rewind(file);
    }
    cr_assert_not_null(file, "there is no %s", path);
    len = fread(held, 1, sizeof held - 1, file);
    fclose(file);
    held[len] = '\0';
    cr_expect_str_eq(text, held, "%s: it is\n%s", name, text);
    free(text);
}

Test(ctl_top, a_busy_cluster_at_80x24)
{
    busy_minute(2);
    view.utf8 = true;
    expect_screen("cluster-80x24", 24, 80);
    view.utf8 = false;
    expect_screen("cluster-80x24-ascii", 24, 80);
}

Test(ctl_top, a_busy_cluster_at_160x50)
{
    busy_minute(6);
    view.utf8 = true;
    expect_screen("cluster-160x50", 50, 160);
    view.utf8 = false;
    expect_screen("cluster-160x50-ascii", 50, 160);
}

Test(ctl_top, a_lone_node_has_no_peers_and_its_counters_have_the_room)
{
    busy_minute(0);
    view.utf8 = true;
    expect_screen("lone-80x24", 24, 80);
}

Test(ctl_top, a_tiny_terminal_shows_what_matters_most)
{
    busy_minute(2);
    expect_screen("cluster-20x5", 5, 20);
    expect_screen("cluster-40x12", 12, 40);
}

Test(ctl_top, before_the_first_answer_and_after_the_last_it_says_so)
{
    expect_screen("asking-80x24", 24, 80);
    busy_minute(2);
    top_miss(&f, "does not run");
    view.now_ms += 2000;
    top_draw(&screen, 24, 80, &f, &view);
    cr_expect_eq(screen.cell[1][0].c, L'O'); /* OK: a slow sync is no loss */
    top_miss(&f, "does not run");
    top_miss(&f, "does not run");
    view.now_ms += 1000;
    view.utf8 = true;
    expect_screen("lost-80x24", 24, 80);
}

Test(ctl_top, what_is_wrong_and_what_to_do_stand_above_all)
{
    struct top_moment bad = quiet;
    json_t *problems = json_pack(
        "[{s:s, s:s}, {}, {}]", "what",
        "peer node-3 at 192.0.2.7:4574 is reached but does not answer, last heard 65 s ago",
        "do",
        "is each one's key right in the other's tally.conf? See its log, and tallyctl "
        "status there");

    bad.problems = problems;
    bad.verdict = TOP_ATTENTION;
    busy_minute(2);
    sample_at(60, 17000, 34000, 2, 4000, &bad);
    expect_screen("attention-80x24", 24, 80);
    json_decref(problems);
}

Test(ctl_top, figures_beyond_all_sense_stay_in_their_columns)
{
    char name[TOP_NAME + 1];
    json_int_t huge = INT64_C(1) << 62;

    for (int i = 0; i < 3; i++) {
        memset(name, 'a' + i, TOP_NAME);
        name[TOP_NAME] = '\0';
        top_counter_set(&f, name, i == 1 ? -huge : huge, true);
        top_counter_add(&f, name, UINT64_MAX / 2);
    }
    top_counter_set(&f, "\033[2J\xe7\x95\xaa\xe5\x8f\xb7 \xff\xe2\x80\xae", 5, true);
    sample_at(0, 0, 0, 6, 0, &quiet);
    top_counter_add(&f, name, UINT64_MAX / 2);
    sample_at(1, huge, huge / 3, 6, huge / 8, &quiet);
    top_sort(&f, TOP_BY_NAME);
    view.sort = TOP_BY_NAME;
    view.utf8 = true;
    expect_screen("huge-80x24", 24, 80);
    expect_screen("huge-160x50", 50, 160);
}

Test(ctl_top, help_and_the_filter)
{
    busy_minute(2);
    view.page = TOP_PAGE_HELP;
    expect_screen("help-80x24", 24, 80);
    view.page = TOP_PAGE_FIGURES;
    view.asking = true;
    snprintf(view.filter, sizeof view.filter, "vote");
    view.paused = true;
    expect_screen("filter-80x24", 24, 80);
}

Test(ctl_top, no_size_writes_beyond_the_screen)
{
    struct top_view any = view;

    busy_minute(6);
    for (int rows = 0; rows <= TOP_ROWS_MAX + 5; rows += rows < 60 ? 1 : 29)
        for (int columns = 0; columns <= TOP_COLUMNS_MAX + 5;
             columns += columns < 60 ? 1 : 37) {
            any.utf8 = rows % 2 == 0;
            top_draw(&screen, rows, columns, &f, &any);
            cr_assert_leq(screen.rows, TOP_ROWS_MAX);
            cr_assert_leq(screen.columns, TOP_COLUMNS_MAX);
            for (int row = 0; row < screen.rows; row++)
                for (int i = 0; i < screen.columns; i++)
                    cr_assert(screen.cell[row][i].c >= L' ' &&
                                  screen.cell[row][i].c != 0x7f,
                              "%d x %d: row %d column %d", columns, rows, row, i);
        }
}

Test(ctl_top, scrolling_ends_with_the_last_counter)
{
    char name[16];

    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "c-%02d", i);
        top_counter_set(&f, name, i, true);
    }
    sample_at(0, 0, 0, 0, 0, &quiet);
    top_sort(&f, TOP_BY_NAME);
    view.first = 1000;
    top_draw(&screen, 24, 80, &f, &view);
    cr_expect_lt(view.first, 40);
    cr_expect_gt(view.first, 20);
    cr_expect_eq(screen.cell[22][2].c, L'3');
    cr_expect_eq(screen.cell[22][3].c, L'9');
}

/* ---- figures ---- */

Test(ctl_top, rates_are_of_the_time_that_passed_and_unknown_where_it_began_anew)
{
    sample_at(0, 100, 10, 0, 0, &quiet);
    cr_expect(isnan(top_series_now(&f.calls)));
    sample_at(2, 300, 10, 0, 0, &quiet);
    cr_expect_float_eq(top_series_at(&f.calls, 0), 100, 0.01);
    cr_expect_float_eq(top_series_at(&f.counts, 0), 0, 0.01);
    sample_at(3, 5, 20, 0, 0, &quiet); /* the node was started again */
    cr_expect(isnan(top_series_at(&f.calls, 0)));
    cr_expect_float_eq(top_series_at(&f.counts, 0), 10, 0.01);
    cr_expect_float_eq(top_series_now(&f.calls), 100, 0.01);
    top_miss(&f, "does not run");
    cr_expect(isnan(top_series_at(&f.counts, 0)));
    sample_at(9, 5000, 5000, 0, 0, &quiet); /* what happened meanwhile is no rate */
    cr_expect(isnan(top_series_at(&f.counts, 0)));
    sample_at(10, 5001, 5000, 0, 0, &quiet);
    cr_expect_float_eq(top_series_at(&f.calls, 0), 1, 0.01);
}

Test(ctl_top, a_quantile_is_guessed_within_its_bucket)
{
    uint64_t bucket[TIMES_BUCKETS] = {0};

    cr_expect(isnan(top_quantile(bucket, 0.5)));
    bucket[0] = 100; /* up to 100 us */
    cr_expect_float_eq(top_quantile(bucket, 0.5), 50, 0.01);
    bucket[2] = 100; /* 250 to 500 us */
    cr_expect_float_eq(top_quantile(bucket, 0.5), 100, 0.01);
    cr_expect_float_eq(top_quantile(bucket, 0.75), 375, 0.01);
    bucket[TIMES_BUCKETS - 1] = 10000; /* above all */
    cr_expect_float_eq(top_quantile(bucket, 0.99), 10000000, 1);
}

Test(ctl_top, a_peer_s_history_goes_with_its_name)
{
    json_t *status = status_of(0, 0, 2);
    json_t *one =
        json_pack("{s:[{s:s, s:I}, {s:s, s:I}]}", "peers", "name", "b", "behind",
                  (json_int_t)5, "name", "c", "behind", (json_int_t)7);
    json_t *two =
        json_pack("{s:[{s:s, s:I}, {s:s, s:I}]}", "peers", "name", "c", "behind",
                  (json_int_t)8, "name", "d", "behind", (json_int_t)9);

    top_take(&f, status, one, &quiet);
    top_take(&f, status, two, &quiet);
    cr_assert_eq(f.peers, 2);
    cr_expect_str_eq(f.peer[0].name, "c");
    cr_expect_float_eq(top_series_at(&f.peer[0].lag, 0), 8, 0.01);
    cr_expect_float_eq(top_series_at(&f.peer[0].lag, 1), 7, 0.01);
    cr_expect_str_eq(f.peer[1].name, "d");
    cr_expect_eq(f.peer[1].lag.count, 1);
    json_decref(status);
    json_decref(one);
    json_decref(two);
}

Test(ctl_top, of_more_counters_than_are_kept_those_that_changed_last_stay)
{
    char name[16];

    for (int i = 0; i < 3 * TOP_COUNTERS; i++) {
        snprintf(name, sizeof name, "c-%d", i);
        cr_assert(top_counter_set(&f, name, i, true));
        if (i == 0)
            top_counter_add(&f, name, 1);
    }
    cr_expect_eq(f.counters, TOP_COUNTERS);
    top_sort(&f, TOP_BY_NAME);
    cr_expect_str_eq(f.counter[0]->name, "c-0");
}

Test(ctl_top, numbers_fit_their_columns)
{
    static const struct {
        int64_t number;
        int width;
        const char *text;
    } whole[] = {{0, 9, "0"},
                 {-1234567, 10, "-1,234,567"},
                 {-1234567, 9, "-1.23M"},
                 {999999, 6, "1.00M"},
                 {INT64_MAX, 11, "9.22E"},
                 {INT64_MIN, 26, "-9,223,372,036,854,775,808"}};
    char out[TOP_NUMBER_SIZE];

    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        top_format_whole(whole[i].number, whole[i].width, out);
        cr_expect_str_eq(out, whole[i].text, "%s", out);
    }
    top_format_rate(9.94, 9, out);
    cr_expect_str_eq(out, "9.9");
    top_format_rate(9.96, 9, out);
    cr_expect_str_eq(out, "10");
    top_format_rate(1e30, 9, out);
    cr_expect_leq(strlen(out), TOP_NUMBER_SIZE - 1);
    top_format_us(999.6, false, out);
    cr_expect_str_eq(out, "1.0 ms");
    top_format_us(12, false, out);
    cr_expect_str_eq(out, "12 us");
    top_format_us(12345678, false, out);
    cr_expect_str_eq(out, "12 s");
}

/* replica/ctl_top_view.h: how top looks: figures in, a screen of characters out. Pure: no terminal, no clock. */
#ifndef REPLICA_CTL_TOP_VIEW_H
#define REPLICA_CTL_TOP_VIEW_H
#include <stdbool.h>
#include <stddef.h>
#include <wchar.h>

#include "replica/ctl_top_figures.h"

enum top_style {
    TOP_PLAIN,
    TOP_FAINT,
    TOP_STRONG,
    TOP_HEAD, /* of the screen, and of a table */
    TOP_GRAPH,
    TOP_GOOD,
    TOP_WARN,
    TOP_BAD,
};

/* One column each: what takes none, two, or speaks to the terminal is shown as '?'. */
struct top_cell {
    wchar_t c;
    enum top_style style;
};

enum { TOP_ROWS_MAX = 200, TOP_COLUMNS_MAX = 500 };

/* Of a larger terminal the rest stays empty. */
struct top_screen {
    int rows, columns;
    struct top_cell cell[TOP_ROWS_MAX][TOP_COLUMNS_MAX];
};

enum top_page { TOP_PAGE_FIGURES, TOP_PAGE_HELP };

/* How it is to be shown. */
struct top_view {
    bool utf8; /* the terminal shows block elements */
    enum top_page page;
    enum top_sort sort; /* as the counters are sorted */
    bool paused;
    bool asking;               /* the filter is being typed */
    char filter[TOP_NAME + 1]; /* part of the counters' names; "": all */
    size_t first; /* counters above the first one shown; brought down to what there is */
    const char *clock; /* of now, for people */
    uint64_t now_ms;   /* monotonic, as heard_ms */
};

void top_draw(struct top_screen *screen, int rows, int columns,
              const struct top_figures *figures, struct top_view *view);

/* "1,234,567" where that fits into width, else "1.23M"; out has room for 32 bytes. */
enum { TOP_NUMBER_SIZE = 32 };
void top_format_whole(int64_t number, int width, char out[TOP_NUMBER_SIZE]);
/* "0.4", "12", "1,234"; "-" where it is not known. */
void top_format_rate(double rate, int width, char out[TOP_NUMBER_SIZE]);
/* "850 us", "4.8 ms", "1.2 s"; "-" */
void top_format_us(double us, bool utf8, char out[TOP_NUMBER_SIZE]);

#endif

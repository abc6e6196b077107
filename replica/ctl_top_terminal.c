#include "replica/ctl_top_terminal.h"

#include <curses.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <term.h>
#include <unistd.h>

#undef columns /* term.h has many short names; this one is needed for something else */

static SCREEN *screen_of;

/* Pairs of colours; 0 is the terminal's own. */
enum { PAIR_GRAPH = 1, PAIR_GOOD, PAIR_WARN, PAIR_BAD };

static void open_colors(bool color)
{
    static const struct {
        short pair, color;
    } pairs[] = {{PAIR_GRAPH, COLOR_CYAN},
                 {PAIR_GOOD, COLOR_GREEN},
                 {PAIR_WARN, COLOR_YELLOW},
                 {PAIR_BAD, COLOR_RED}};

    if (!color || !has_colors() || start_color() == ERR)
        return;
    use_default_colors();
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        init_pair(pairs[i].pair, pairs[i].color, -1);
}

/* Looked at first: newterm() would end in a screen that scrolls away. */
static bool places_cursor(void)
{
    int status;
    const char *way;
    bool places;

    if (setupterm(NULL, STDOUT_FILENO, &status) != OK)
        return false;
    way = tigetstr("cup");
    places = way != NULL && way != (const char *)-1;
    del_curterm(cur_term);
    return places;
}

bool top_terminal_open(bool color)
{
    if (!places_cursor())
        return false;
    screen_of = newterm(NULL, stdout, stdin);
    if (screen_of == NULL)
        return false;
    cbreak();
    noecho();
    nonl();
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    set_escdelay(50);
    curs_set(0);
    open_colors(color);
    return true;
}

void top_terminal_close(void)
{
    endwin();
    delscreen(screen_of);
}

/* Also what changed while it was stopped, of which nobody was told. */
void top_terminal_size(int *rows, int *columns)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 &&
        size.ws_col > 0 && is_term_resized(size.ws_row, size.ws_col))
        resizeterm(size.ws_row, size.ws_col);
    getmaxyx(stdscr, *rows, *columns);
}

/* Without colours, what is bad still stands out. */
static attr_t look_of(enum top_style style, short *pair)
{
    static const struct {
        attr_t attributes;
        short pair;
    } looks[] = {[TOP_PLAIN] = {A_NORMAL, 0},          [TOP_FAINT] = {A_DIM, 0},
                 [TOP_STRONG] = {A_BOLD, 0},           [TOP_HEAD] = {A_REVERSE, 0},
                 [TOP_GRAPH] = {A_NORMAL, PAIR_GRAPH}, [TOP_GOOD] = {A_BOLD, PAIR_GOOD},
                 [TOP_WARN] = {A_BOLD, PAIR_WARN},     [TOP_BAD] = {A_BOLD, PAIR_BAD}};

    *pair = looks[style].pair;
    return looks[style].attributes;
}

static void show_row(const struct top_screen *screen, int row)
{
    wchar_t text[TOP_COLUMNS_MAX];
    int from = 0;

    while (from < screen->columns) {
        enum top_style style = screen->cell[row][from].style;
        int len = 0;
        short pair;
        attr_t attributes = look_of(style, &pair);

        for (int i = from; i < screen->columns && screen->cell[row][i].style == style;
             i++)
            text[len++] = screen->cell[row][i].c;
        attr_set(attributes, pair, NULL);
        /* ERR in the last cell only, behind which the cursor has no place: it is written all the same. */
        (void)mvaddnwstr(row, from, text, len);
        from += len;
    }
}

void top_terminal_show(const struct top_screen *screen)
{
    erase();
    for (int row = 0; row < screen->rows; row++)
        show_row(screen, row);
    refresh();
}

/* One that has come, if any. */
static int read_key(void)
{
    wint_t c = 0;
    int status = get_wch(&c);

    if (status == ERR)
        return TOP_KEY_NONE;
    if (status == KEY_CODE_YES) {
        switch (c) {
        case KEY_RESIZE:
            return TOP_KEY_RESIZE;
        case KEY_UP:
            return TOP_KEY_UP;
        case KEY_DOWN:
            return TOP_KEY_DOWN;
        case KEY_PPAGE:
            return TOP_KEY_PAGE_UP;
        case KEY_NPAGE:
            return TOP_KEY_PAGE_DOWN;
        case KEY_BACKSPACE:
            return TOP_KEY_ERASE;
        case KEY_ENTER:
            return TOP_KEY_ENTER;
        default:
            return 0; /* a key without a meaning here */
        }
    }
    if (c == 8 || c == 127)
        return TOP_KEY_ERASE;
    if (c == '\r' || c == '\n')
        return TOP_KEY_ENTER;
    return c == 27 ? TOP_KEY_ESCAPE : (int)(c & 0xffff);
}

int top_terminal_key(unsigned wait_ms)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    int key = read_key();

    if (key != TOP_KEY_NONE)
        return key;
    if (poll(&in, 1, (int)wait_ms) > 0 &&
        (in.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0)
        return TOP_KEY_END;
    return read_key();
}

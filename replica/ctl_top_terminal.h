/* replica/ctl_top_terminal.h: the terminal that top fills: screens go out, keys come in. Wraps ncurses, which knows what
 * kinds of terminals there are, sends only what changed, and stops and goes on with the shell's job control. */
#ifndef REPLICA_CTL_TOP_TERMINAL_H
#define REPLICA_CTL_TOP_TERMINAL_H
#include "replica/ctl_top_view.h"

/* Beside characters, which are themselves. */
enum top_key {
    TOP_KEY_NONE = -1,
    TOP_KEY_RESIZE = 0x10000,
    TOP_KEY_UP,
    TOP_KEY_DOWN,
    TOP_KEY_PAGE_UP,
    TOP_KEY_PAGE_DOWN,
    TOP_KEY_ERASE,
    TOP_KEY_ENTER,
    TOP_KEY_ESCAPE,
    TOP_KEY_END, /* the terminal is gone */
};

/* Standard input and output are terminals. False: this kind cannot place its cursor, and nothing was written. */
bool top_terminal_open(bool color);
/* It is as it was before. */
void top_terminal_close(void);
void top_terminal_size(int *rows, int *columns);
void top_terminal_show(const struct top_screen *screen);
/* Waits that long at most, or until a signal. */
int top_terminal_key(unsigned wait_ms);

#endif

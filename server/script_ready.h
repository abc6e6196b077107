/* server/script_ready.h: the ready-made scripts, as conf.h would have them out of a tally.conf. */
#ifndef SERVER_SCRIPT_READY_H
#define SERVER_SCRIPT_READY_H
#include "server/script_table.h"

enum { SCRIPT_READY_MAX = 8, SCRIPT_READY_LINES_MAX = 16 };

struct script_ready {
    struct conf_script script[SCRIPT_READY_MAX];
    size_t count;
};

/* What they point to is the table's, or static. ERR_MEMORY, not told. */
enum err script_ready(struct script_table *table, struct script_ready *ready);

#endif

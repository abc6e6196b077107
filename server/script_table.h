/* server/script_table.h: the table that script.h hands out, and the memory of all that its scripts point to. */
#ifndef SERVER_SCRIPT_TABLE_H
#define SERVER_SCRIPT_TABLE_H
#include "server/script.h"

struct script_table {
    struct script_kept *kept; /* everything that scripts point to */
    struct script *script;    /* made by whoever compiles, freed with the table */
    size_t count;
};

/* Zeros, freed with the table. NULL without memory. */
void *script_keep(struct script_table *table, size_t size);
/* A copy with a NUL behind it. */
char *script_keep_text(struct script_table *table, const char *text, size_t len);

#endif

#include "server/script_table.h"

#include <stdlib.h>
#include <string.h>

struct script_kept {
    struct script_kept *next;
    max_align_t bytes[];
};

void *script_keep(struct script_table *table, size_t size)
{
    struct script_kept *k = calloc(1, sizeof *k + size);

    if (k == NULL)
        return NULL;
    k->next = table->kept;
    table->kept = k;
    return k->bytes;
}

char *script_keep_text(struct script_table *table, const char *text, size_t len)
{
    char *copy = script_keep(table, len + 1);

    if (copy != NULL)
        memcpy(copy, text, len);
    return copy;
}

void script_table_free(struct script_table *table)
{
    if (table == NULL)
        return;
    while (table->kept != NULL) {
        struct script_kept *next = table->kept->next;
        free(table->kept);
        table->kept = next;
    }
    free(table->script);
    free(table);
}

const struct script *script_find(const struct script_table *table, const char *name,
                                 size_t len)
{
    for (size_t i = 0; i < table->count; i++)
        if (strlen(table->script[i].name) == len &&
            memcmp(table->script[i].name, name, len) == 0)
            return &table->script[i];
    return NULL;
}

const struct script *script_refused(const struct script_table *table)
{
    return script_find(table, "refused", strlen("refused"));
}

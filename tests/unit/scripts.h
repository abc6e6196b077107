/* tests/unit/scripts.h: call scripts from text, as tally.conf would have them. */
#ifndef TESTS_UNIT_SCRIPTS_H
#define TESTS_UNIT_SCRIPTS_H
#include <criterion/criterion.h>
#include <string.h>

#include "server/script.h"

/* text begins in the line of its "[script". */
static inline enum err compile_text(const char *text, struct script_table **table,
                                    struct conf_error *error)
{
    char file[16384];
    struct conf *conf;
    enum err err;

    cr_assert_lt(strlen(text), sizeof file - 64);
    snprintf(file, sizeof file, "[node] ; line 1\nstate = x\n%s", text);
    err = conf_parse(file, strlen(file), "t.conf", &conf, error);
    cr_assert_eq(err, ERR_OK, "%s", error->text);
    err = script_compile(conf, table, error);
    conf_free(conf);
    return err;
}

static inline struct script_table *compiled(const char *text)
{
    struct script_table *table = NULL;
    struct conf_error error = {""};

    cr_assert_eq(compile_text(text, &table, &error), ERR_OK, "%s", error.text);
    return table;
}

#endif

/* server/script.h: call scripts, compiled once from tally.conf into a table of steps. No I/O. */
#ifndef SERVER_SCRIPT_H
#define SERVER_SCRIPT_H
#include "common/conf.h"
#include "common/err.h"

struct script; /* one script: immutable */
struct
    script_table; /* all of them, the ready-made ones (hits, count, get, vote) included unless tally.conf
                      * has one of the same name */

/* On ERR_OK *table is the caller's, to be freed by script_table_free(); it keeps no pointer into conf.
 * Errors: ERR_MALFORMED, ERR_RANGE, ERR_TOO_LONG: error->text has file:line and what was expected. */
enum err script_compile(const struct conf *conf, struct script_table **table,
                        struct conf_error *error);
void script_table_free(struct script_table *table);

/* NULL where there is none. name needs no NUL behind it. */
const struct script *script_find(const struct script_table *table, const char *name,
                                 size_t len);

#endif

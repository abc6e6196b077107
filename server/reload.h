/* server/reload.h: reads tally.conf, at the start and again, and puts a new configuration in force. */
#ifndef SERVER_RELOAD_H
#define SERVER_RELOAD_H
#include "common/err.h"
#include "server/master.h"

/* Read and compile; on ERR_OK both are the caller's. On failure *error says what and where, and nothing is left.
 * Errors: those of conf_read() and script_compile(). */
enum err reload_read(const char *path, struct conf **conf, struct script_table **scripts,
                     struct conf_error *error);

/* Fewer calls for each worker where this process may not have the descriptors for them, which is logged; raises the limit
 * as far as it may. */
void reload_fit_calls(struct conf *conf);

/* Read it again where m->reload_asked, and no earlier one is still being put in force. Workers get their successors by
 * tree_replace_one(), the state process its settings at once. What is wrong is logged, and the configuration in force
 * stays. */
void reload_if_asked(struct master *m);

#endif

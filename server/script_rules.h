/* server/script_rules.h: what a word must be in its place: written out, a number, a time, keys, a counter's name. What it
 * is instead is told: in `what`, its place as people know it. Errors of all, told:
 *   ERR_MALFORMED  it holds a variable though it must be written out, or it is something else
 *   ERR_TOO_LONG, ERR_RANGE; rule_counter(): ERR_MEMORY */
#ifndef SERVER_SCRIPT_RULES_H
#define SERVER_SCRIPT_RULES_H
#include "server/script_words.h"

enum { RULE_KEYS_SIZE = 32 }; /* each key once, and a NUL */

/* At most size - 1 bytes, with a NUL behind them. */
enum err rule_text(struct compiler *c, const struct word *w, const char *what, char *out,
                   size_t size);
enum err rule_number(struct compiler *c, const struct word *w, const char *what,
                     int64_t least, int64_t most, int64_t *number);
/* In milliseconds. */
enum err rule_duration(struct compiler *c, const struct word *w, unsigned *ms);
/* Keys as a script names them, "1-9" or "12*#", written out one by one. */
enum err rule_keys(struct compiler *c, const struct word *w, const char *what,
                   char out[RULE_KEYS_SIZE]);
/* What of it is time becomes pieces of its own. */
enum err rule_counter(struct compiler *c, const struct draft *word,
                      struct script_text *out);

#endif

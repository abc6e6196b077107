/* server/script_words.h: a line of a script taken apart into words, with quotes, escapes and variables. */
#ifndef SERVER_SCRIPT_WORDS_H
#define SERVER_SCRIPT_WORDS_H
#include "server/script_draft.h"

enum {
    WORDS_MAX = 8,   /* of one line */
    OPTIONS_MAX = 3, /* of one verb */
};

/* One word of a line. option is which of the verb's options it gives, or -1. */
struct word {
    int option;
    struct draft draft; /* without the option's "name=" */
};

struct words {
    struct word word[WORDS_MAX];
    size_t count;
};

/* The words of a line of at most CONF_LINE_MAX bytes. options: the names that may stand before a "=", NULL behind the
 * last where they are fewer than OPTIONS_MAX. Errors, told: ERR_MALFORMED; those of variable_find(). */
enum err words_lex(struct compiler *c, const char *at, const char *const *options,
                   struct words *words);

/* The word's text, not ended by NUL, when it holds no variable. It points into the word. */
bool word_fixed(const struct word *w, const char **text, size_t *len);

#endif

#include "server/script_words.h"

#include <string.h>

#include "server/script_variable.h"

bool word_fixed(const struct word *w, const char **text, size_t *len)
{
    if (w->draft.count > 1 ||
        (w->draft.count == 1 && w->draft.piece[0].from != SCRIPT_TEXT))
        return false;
    *text = w->draft.bytes;
    *len = w->draft.len;
    return true;
}

/* at stands on "${". */
static enum err lex_variable(struct compiler *c, const char **at, struct draft *d)
{
    const char *name = *at + 2, *end = strchr(name, '}');
    char text[CONF_LINE_MAX + 1];
    struct script_piece piece;
    enum err err;

    if (end == NULL)
        return compiler_refuse(c, ERR_MALFORMED,
                               "${ without }: expected ${NAME}; write \\$ for a $");
    memcpy(text, name, (size_t)(end - name));
    text[end - name] = '\0';
    err = variable_find(c, text, &piece);
    if (err == ERR_OK)
        draft_piece(d, &piece);
    *at = end + 1;
    return err;
}

/* One word, up to a blank outside quotes. */
static enum err lex_word(struct compiler *c, const char **at, struct draft *d)
{
    bool quoted = false;

    d->count = d->len = 0;
    for (; **at != '\0' && (quoted || (**at != ' ' && **at != '\t'));) {
        enum err err = ERR_OK;
        if (**at == '"') {
            quoted = !quoted;
            ++*at;
        } else if (**at == '$' && (*at)[1] == '{') {
            err = lex_variable(c, at, d);
        } else if (**at == '\\' && (*at)[1] == '\0') {
            return compiler_refuse(c, ERR_MALFORMED,
                                   "a lone \\ at the end: write \\\\ for a \\");
        } else {
            *at += **at == '\\';
            draft_text(d, (*at)++, 1);
        }
        if (err != ERR_OK)
            return err;
    }
    if (quoted)
        return compiler_refuse(c, ERR_MALFORMED,
                               "a \" without its end; write \\\" for a \"");
    return ERR_OK;
}

/* Which option a word begins with; *at moves behind its "=". */
static int lex_option(const char **at, const char *const *options)
{
    for (int i = 0; i < OPTIONS_MAX && options[i] != NULL; i++) {
        size_t len = strlen(options[i]);
        if (strncmp(*at, options[i], len) == 0 && (*at)[len] == '=') {
            *at += len + 1;
            return i;
        }
    }
    return -1;
}

enum err words_lex(struct compiler *c, const char *at, const char *const *options,
                   struct words *words)
{
    words->count = 0;
    for (;;) {
        struct word *w = words->word + words->count;
        enum err err;
        at += strspn(at, " \t");
        if (*at == '\0')
            return ERR_OK;
        if (words->count == WORDS_MAX)
            return compiler_refuse(c, ERR_MALFORMED,
                                   "too many words; \"...\" makes one of several");
        w->option = lex_option(&at, options);
        err = lex_word(c, &at, &w->draft);
        if (err != ERR_OK)
            return err;
        words->count++;
    }
}

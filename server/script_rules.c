#include "server/script_rules.h"

#include <string.h>

#include "common/name.h"
#include "server/agi.h"

enum err rule_text(struct compiler *c, const struct word *w, const char *what, char *out,
                   size_t size)
{
    const char *text;
    size_t len;

    if (!word_fixed(w, &text, &len))
        return compiler_refuse(c, ERR_MALFORMED, "%s must be written out, without ${...}",
                               what);
    if (len >= size)
        return compiler_refuse(c, ERR_TOO_LONG, "%s may have at most %zu bytes", what,
                               size - 1);
    memcpy(out, text, len);
    out[len] = '\0';
    return ERR_OK;
}

enum err rule_number(struct compiler *c, const struct word *w, const char *what,
                     int64_t least, int64_t most, int64_t *number)
{
    char text[32];
    enum err err = rule_text(c, w, what, text, sizeof text);

    if (err != ERR_OK)
        return err;
    if (!agi_number(text, strlen(text), number) || *number < least || *number > most)
        return compiler_refuse(c, ERR_RANGE,
                               "%s is \"%s\": expected a number from %lld to %lld", what,
                               text, (long long)least, (long long)most);
    return ERR_OK;
}

enum err rule_duration(struct compiler *c, const struct word *w, unsigned *ms)
{
    char text[32];
    enum err err = rule_text(c, w, "the time", text, sizeof text);

    if (err != ERR_OK)
        return err;
    if (conf_duration(text, ms) != ERR_OK)
        return compiler_refuse(
            c, ERR_MALFORMED,
            "\"%s\" is no duration: expected a number and ms, s, m or h, such as 500ms or 3s",
            text);
    return ERR_OK;
}

static bool is_key(char k)
{
    return k != '\0' && strchr("0123456789*#ABCD", k) != NULL;
}

enum err rule_keys(struct compiler *c, const struct word *w, const char *what,
                   char out[RULE_KEYS_SIZE])
{
    char text[32];
    size_t len = 0;
    enum err err = rule_text(c, w, what, text, sizeof text);

    if (err != ERR_OK)
        return err;
    for (const char *at = text; *at != '\0';) {
        char first = *at++, last = first;
        if (*at == '-' && at[1] != '\0') {
            last = at[1];
            at += 2;
        }
        if (!is_key(first) || !is_key(last) || first > last || last - first > 9)
            return compiler_refuse(
                c, ERR_MALFORMED,
                "%s \"%s\": expected keys out of 0123456789*#ABCD, or a range such as 1-9",
                what, text);
        for (char k = first; k <= last; k++) {
            if (is_key(k) && memchr(out, k, len) == NULL)
                out[len++] = k;
        }
    }
    out[len] = '\0';
    return ERR_OK;
}

static bool time_code(char code)
{
    return code != '\0' && strchr("YmdHM", code) != NULL;
}

/* A text piece of a counter's name: what of it is time becomes pieces of its own. */
static enum err counter_text(struct compiler *c, const struct script_piece *text,
                             struct draft *out)
{
    for (size_t i = 0; i < text->len; i++) {
        char byte = text->text[i], code = i + 1 < text->len ? text->text[i + 1] : '\0';
        if (byte == '%' && time_code(code)) {
            draft_piece(out, &(struct script_piece){.from = SCRIPT_TIME, .code = code});
            i++;
        } else if (byte == '%') {
            return compiler_refuse(
                c, ERR_MALFORMED,
                "%% in a counter's name: expected %%Y, %%m, %%d, %%H or %%M");
        } else if (!name_valid(&byte, 1)) {
            return compiler_refuse(
                c, ERR_MALFORMED,
                "a counter's name holds letters, digits and ._- only (and %%Y %%m %%d %%H %%M, "
                "${...})");
        } else {
            draft_text(out, &byte, 1);
        }
    }
    return ERR_OK;
}

enum err rule_counter(struct compiler *c, const struct draft *word,
                      struct script_text *out)
{
    struct draft name;

    name.count = name.len = 0;
    for (size_t i = 0; i < word->count; i++) {
        enum err err = ERR_OK;
        if (word->piece[i].from == SCRIPT_TEXT)
            err = counter_text(c, &word->piece[i], &name);
        else
            draft_piece(&name, &word->piece[i]);
        if (err != ERR_OK)
            return err;
    }
    if (name.count == 0)
        return compiler_refuse(c, ERR_MALFORMED, "a counter's name cannot be empty");
    if (name.len > NAME_MAX_BYTES)
        return compiler_refuse(c, ERR_TOO_LONG,
                               "a counter's name may have at most %d bytes",
                               NAME_MAX_BYTES);
    return draft_keep(c, &name, out);
}

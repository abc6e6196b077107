#include "server/fake_words.h"

#include <stdbool.h>

/* Words are written back into the line behind the reader: what is written is never longer
 * than what was read, because each NUL takes the place of the blank that ends its word,
 * and the last one that of the line's end. */
struct splitter {
    const char **words;
    size_t count;
    char *to;
    bool between; /* no word has begun since the last blank */
};

/* False where no further word is taken: what belongs to it is dropped. */
static bool begin_word(struct splitter *s)
{
    if (!s->between)
        return true;
    if (s->count == FAKE_WORDS_MAX)
        return false;
    s->words[s->count++] = s->to;
    s->between = false;
    return true;
}

static void end_word(struct splitter *s)
{
    if (!s->between)
        *s->to++ = '\0';
    s->between = true;
}

size_t fake_words(char *line, size_t len, const char *words[FAKE_WORDS_MAX + 1])
{
    struct splitter s = {.words = words, .to = line, .between = true};
    bool quoted = false, escaped = false;

    for (size_t i = 0; i < len; i++) {
        char c = line[i];

        if (c == '"' && !escaped) {
            quoted = !quoted;
            if (quoted)
                begin_word(&s);
        } else if ((c == ' ' || c == '\t') && !quoted && !escaped) {
            end_word(&s);
        } else if (c == '\\' && !escaped) {
            escaped = true;
            continue;
        } else if (begin_word(&s)) {
            *s.to++ = c;
        }
        escaped = false;
    }
    end_word(&s);
    words[s.count] = NULL;
    return s.count;
}

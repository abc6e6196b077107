/* tests/lib/transcript.h: read a recorded session, tests/transcripts/README.md. For tests
 * only: what is not as it should be fails an assert. */
#ifndef TESTS_LIB_TRANSCRIPT_H
#define TESTS_LIB_TRANSCRIPT_H
#include <assert.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum transcript_who {
    TRANSCRIPT_ASTERISK,
    TRANSCRIPT_SERVER,
    TRANSCRIPT_EVENT, /* at the server's socket: bytes holds what */
    TRANSCRIPT_LOG,   /* from Asterisk's log */
};

struct transcript_line {
    enum transcript_who who;
    bool joined; /* of the same read or write as the line before */
    char *bytes; /* with a NUL behind them */
    size_t len;
};

struct transcript {
    struct transcript_line *lines;
    size_t count;
};

static inline size_t transcript_unquote(const char *from, char *to)
{
    size_t len = 0;

    assert(*from == '"');
    for (from++; *from != '"'; from++) {
        unsigned byte;

        assert(*from != '\0');
        if (*from != '\\') {
            to[len++] = *from;
            continue;
        }
        from++;
        if (*from == 'x') {
            assert(sscanf(from + 1, "%2x", &byte) == 1);
            to[len++] = (char)byte;
            from += 2;
        } else {
            to[len++] = *from == 'n'   ? '\n'
                        : *from == 'r' ? '\r'
                        : *from == 't' ? '\t'
                                       : *from;
        }
    }
    return len;
}

static inline void transcript_add(struct transcript *t, const char *text)
{
    static const char whos[] = "AS-D";
    struct transcript_line *line;
    const char *who = text + strspn(text, " 0123456789.+");

    assert(*who != '\0' && strchr(whos, *who) != NULL && who[1] == ' ');
    t->lines = realloc(t->lines, (t->count + 1) * sizeof *t->lines);
    assert(t->lines != NULL);
    line = &t->lines[t->count++];
    line->who = (enum transcript_who)(strchr(whos, *who) - whos);
    line->joined = text[strspn(text, " ")] == '+';
    line->bytes = calloc(1, strlen(who));
    assert(line->bytes != NULL);
    if (line->who <= TRANSCRIPT_SERVER) {
        line->len = transcript_unquote(who + 2, line->bytes);
    } else {
        line->len = strcspn(who + 2, "\n");
        memcpy(line->bytes, who + 2, line->len);
    }
}

/* The recorded session of that name; to be freed by transcript_free(). */
static inline struct transcript transcript_read(const char *name)
{
    struct transcript t = {0};
    char path[4096], *text = NULL;
    size_t size = 0;
    FILE *file;

    snprintf(path, sizeof path, "%s/transcripts/%s.txt", TESTS_DIR, name);
    file = fopen(path, "r");
    assert(file != NULL);
    while (getline(&text, &size, file) >= 0)
        if (text[0] != '#' && text[0] != '\n')
            transcript_add(&t, text);
    free(text);
    fclose(file);
    return t;
}

static inline void transcript_free(struct transcript *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->lines[i].bytes);
    free(t->lines);
}

#endif

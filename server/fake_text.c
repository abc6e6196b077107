#include "server/fake_text.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_FIRST_SIZE = 128 };

static bool text_reserve(struct text *t, size_t len)
{
    size_t size = t->size == 0 ? TEXT_FIRST_SIZE : t->size;
    char *at;

    if (t->failed)
        return false;
    if (len < t->size - t->len)
        return true;
    while (size - t->len <= len)
        size *= 2;
    at = realloc(t->at, size);
    if (at == NULL) {
        t->failed = true;
        return false;
    }
    t->at = at;
    t->size = size;
    return true;
}

void text_put(struct text *t, const char *bytes, size_t len)
{
    if (len == 0 || !text_reserve(t, len))
        return;
    memcpy(t->at + t->len, bytes, len);
    t->len += len;
    t->at[t->len] = '\0';
}

void text_puts(struct text *t, const char *string)
{
    text_put(t, string, strlen(string));
}

void text_printf(struct text *t, const char *format, ...)
{
    char line[256];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    assert(len >= 0 && (size_t)len < sizeof line); /* Only short lines are formatted. */
    text_put(t, line, (size_t)len);
}

void text_free(struct text *t)
{
    free(t->at);
    *t = (struct text){0};
}

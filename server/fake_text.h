/* server/fake_text.h: a growing piece of text. No I/O. Zero-initialised; text_free() in
 * the end. Out of memory is remembered, not returned: whoever appends much asks `failed`
 * once. */
#ifndef SERVER_FAKE_TEXT_H
#define SERVER_FAKE_TEXT_H
#include <stdbool.h>
#include <stddef.h>

struct text {
    char *at;         /* NULL while empty, else with a NUL behind its bytes */
    size_t len, size; /* bytes */
    bool failed;      /* no memory: nothing was appended since */
};

void text_put(struct text *t, const char *bytes, size_t len);
void text_puts(struct text *t, const char *string);
/* At most 255 bytes. */
void text_printf(struct text *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void text_free(struct text *t);

#endif

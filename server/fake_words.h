/* server/fake_words.h: split a command line into words, exactly as Asterisk does. No I/O.
 * Source: Asterisk res/res_agi.c, parse_args(): blanks and tabs separate, "..." quotes,
 * also in mid-word, and an open quote ends with the line; \ escapes the next byte in and
 * outside of quotes; "" is an empty word. */
#ifndef SERVER_FAKE_WORDS_H
#define SERVER_FAKE_WORDS_H
#include <stddef.h>

/* Words that Asterisk takes of one line; the rest is dropped. */
enum { FAKE_WORDS_MAX = 127 };

/* Split line[0..len) in place; line[len] must be writable, it becomes a NUL. words[]
 * points into line, each with a NUL behind it, and words[return value] is NULL. The line
 * holds no NUL and no newline. */
size_t fake_words(char *line, size_t len, const char *words[FAKE_WORDS_MAX + 1]);

#endif

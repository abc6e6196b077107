/* server/agi.h: what Asterisk says on a FastAGI connection, and how to say a command to
 * it. No I/O. Source: FASTAGI.md beside this file, from Asterisk 22's res/res_agi.c and
 * the sessions recorded from it in tests/transcripts/. */
#ifndef SERVER_AGI_H
#define SERVER_AGI_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum {
    AGI_LINE_MAX = 16 * 1024, /* bytes of a response line; real ones stay below 9 KB */
    AGI_ENV_LINES_MAX = 256,  /* lines of an environment; a real one has at most 149 */
    AGI_ARGS_MAX = 127,       /* Asterisk puts whatever is more into the last one */
    AGI_COMMAND_MAX =
        8191, /* bytes of a command with its newline; Asterisk runs the rest of a longer
                             * one as another command */
    AGI_SAY_MAX = 2147483646, /* SAY NUMBER says nothing at all above it */
};

/* Bytes inside somebody else's buffer; at is NULL where there are none. */
struct agi_text {
    const char *at;
    size_t len;
};

/* The environment's fixed lines, "agi_NAME: value", in the order in which Asterisk writes
 * them. */
#define AGI_NAMES(X)                    \
    X(NETWORK, "network")               \
    X(NETWORK_SCRIPT, "network_script") \
    X(REQUEST, "request")               \
    X(CHANNEL, "channel")               \
    X(LANGUAGE, "language")             \
    X(TYPE, "type")                     \
    X(UNIQUEID, "uniqueid")             \
    X(VERSION, "version")               \
    X(CALLERID, "callerid")             \
    X(CALLERIDNAME, "calleridname")     \
    X(CALLINGPRES, "callingpres")       \
    X(CALLINGANI2, "callingani2")       \
    X(CALLINGTON, "callington")         \
    X(CALLINGTNS, "callingtns")         \
    X(DNID, "dnid")                     \
    X(RDNIS, "rdnis")                   \
    X(CONTEXT, "context")               \
    X(EXTENSION, "extension")           \
    X(PRIORITY, "priority")             \
    X(ENHANCED, "enhanced")             \
    X(ACCOUNTCODE, "accountcode")       \
    X(THREADID, "threadid")
#define AGI_NAME_ENUM(name, text) AGI_##name,
enum agi_name { AGI_NAMES(AGI_NAME_ENUM) AGI_NAME_COUNT };

/* The name without its agi_, static. */
const char *agi_name(enum agi_name name);
/* AGI_NAME_COUNT where no line is called so. */
enum agi_name agi_name_find(const char *text, size_t len);

struct agi_env {
    struct agi_text value[AGI_NAME_COUNT];
    struct agi_text arg[AGI_ARGS_MAX]; /* agi_arg_1 is arg[0] */
    size_t args;
    /* A line is out of Asterisk's order: repeated, or an argument before its turn.
     * Asterisk escapes nothing, so a newline in a value (a caller's name, say) forges
     * lines; the true ones then follow the forged ones, or do not come at all. Nothing in
     * such an environment is to be believed. */
    bool forged;
};

/* Parse the environment that starts at buf: lines and an empty one. The caller keeps buf;
 * *env points into it. *scanned, 0 at first, is kept by the caller from one call to the
 * next, which brings the same bytes and more, so that bytes trickling in one by one cost
 * no more than all at once. *used is how many bytes the environment took; what follows is
 * not part of it. A line without ": ", or with a name that Asterisk does not have, is
 * stepped over.
 * Errors: ERR_AGAIN      not complete: read more, then call again
 *         ERR_MALFORMED  the first line is not "agi_network: yes", or there is a NUL byte: close. The
 *                        former is told from the first byte that differs
 *         ERR_TOO_LONG   more than AGI_ENV_LINES_MAX lines: close
 * The limit of the whole in bytes is the caller's: he owns the buffer. */
enum err agi_env_parse(const char *buf, size_t len, size_t *scanned, struct agi_env *env,
                       size_t *used);

/* What a line is, after the environment. */
enum agi_line {
    AGI_RESPONSE, /* the answer to the command that is under way */
    AGI_PART,     /* of a response over several lines; the last one is AGI_RESPONSE */
    AGI_HANGUP,   /* the caller has gone; a running command is answered as well */
    AGI_STRAY,    /* an environment line: a forged line ended the environment early */
    AGI_JUNK,     /* none of these: step over it */
};

struct agi_response {
    unsigned
        code; /* 200, 510 (no such command), 511 (the channel is dead), 520 (bad usage) */
    bool has_result; /* result is what stands behind "result=", a number within int64_t */
    int64_t result;
    struct agi_text
        digits; /* the same as text: GET DATA's digits may be many, or * and # */
    struct agi_text value; /* from the first "(" behind it to the line's last ")" */
    bool timeout;          /* value is "timeout" */
    int64_t endpos;        /* -1 where there is none */
};

/* Zero at the start of a connection. */
struct agi_parser {
    bool usage; /* inside a 520 over several lines */
};

/* Say what one line is, its newline taken off. *response is written for AGI_RESPONSE
 * only, and its texts point into the line. */
enum agi_line agi_parse_line(struct agi_parser *parser, const char *line, size_t len,
                             struct agi_response *response);

/* A command in the making. Like a struct writer it remembers the first mistake, and
 * agi_command_end() tells. */
struct agi_command {
    char *buf;
    size_t size, len;
    enum err err;
};

/* The caller owns buf. */
struct agi_command agi_command_of(char *buf, size_t size);
/* Bytes as they are: the command's own words and blanks. */
void agi_put(struct agi_command *c, const char *text, size_t len);
void agi_puts(struct agi_command *c, const char *text);
/* Data between two `"` that the caller puts: `\` goes before `"` and `\`. There is no
 * escape for a newline or NUL, so these make the command ERR_MALFORMED. */
void agi_put_escaped(struct agi_command *c, const char *text, size_t len);
/* Data as one word, quoted where it must be. */
void agi_put_word(struct agi_command *c, const char *text, size_t len);
/* The newline. Whatever is not ERR_OK means that nothing of this may be sent.
 * Errors: ERR_TOO_LONG   above AGI_COMMAND_MAX or the buffer's size
 *         ERR_MALFORMED  a newline or NUL in the data */
enum err agi_command_end(struct agi_command *c);

/* The commands that say a number: SAY NUMBER where Asterisk can say it, SAY DIGITS where
 * it is too large. gender is one letter, or "" for the language's default. */
void agi_say_number(struct agi_command *c, int64_t number, const char *gender);
/* SAY DIGITS reads a number first: an optional "-", a digit, then digits, "*" and "#". */
bool agi_digits_sayable(const char *text, size_t len);

/* A decimal number, optional "-", nothing else, within int64_t. */
bool agi_number(const char *text, size_t len, int64_t *number);

#endif

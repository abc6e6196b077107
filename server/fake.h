/* server/fake.h: Asterisk's side of one FastAGI call as a state machine: the server's
 * bytes go in, what Asterisk would do comes out. No I/O, no clock, no random numbers.
 * Source: Asterisk 22 res/res_agi.c and recorded calls, which tests/unit/test_fake.c
 * replays: the same words of a command, the same 200, 510, 511 and 520, HANGUP in the
 * same places, and the same silence where a server sends a command before the last one is
 * answered. Where Asterisk would go wrong (a NUL byte, a line that never ends) the call
 * ends as FAKE_BREACH, which tells more.
 * What is made up: a sound takes fake_caller's think_ms, whatever it is; so are the words
 * of a command's usage in a 520; the database is empty; of expressions only ${NAME} is
 * played. */
#ifndef SERVER_FAKE_H
#define SERVER_FAKE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum {
    FAKE_LINE_MAX = 8191, /* bytes of a command with its newline; Asterisk cuts there */
    FAKE_AHEAD_MAX = 64 * 1024,     /* bytes of commands that wait for their turn */
    FAKE_VARIABLES_MAX = 256,       /* that one call may set */
    FAKE_VARIABLE_SHOWN_MAX = 1023, /* bytes of a value that GET VARIABLE gives */
    FAKE_PRESSED_MAX = 1024,        /* digits that GET DATA takes */
    FAKE_NUMBER_MAX = 64,           /* bytes of a number that was said */
};

/* How a caller behaves, and what the dialplan had set. Shared by calls, must outlive
 * them. */
struct fake_caller {
    const char *keys; /* pressed one by one as commands take them; "" for none */
    const char *const *missing; /* sound files that do not exist */
    size_t missing_count;
    bool exec_fails;      /* EXEC finds no application */
    bool dead;            /* the channel is hung up from the start: an h extension */
    unsigned think_ms;    /* how long a sound, or something said, takes */
    unsigned answer_ms;   /* how long ANSWER takes */
    unsigned patience_ms; /* after so long in a wait without an end the caller hangs up */
    /* "NAME=VALUE", also what the environment says of EXTEN and such. AGISIGHUP=no and
     * AGIEXITONHANGUP=yes do what they do in Asterisk */
    const char *const *variables;
    size_t variable_count;
};

/* When the caller hangs up: never by himself, or at a command, counted from 1. */
enum fake_leave {
    FAKE_STAYS,
    FAKE_LEAVES_DURING, /* while it runs: it fails, and HANGUP follows at once */
    FAKE_LEAVES_LATE,   /* the same, but HANGUP arrives only before the next response */
    FAKE_LEAVES_AFTER,  /* it succeeds, and HANGUP follows at once */
};

enum fake_do {
    FAKE_READ,    /* nothing: wait for bytes, and for a time that runs */
    FAKE_COMMAND, /* a command was taken, todo->line; nothing to do but to look at it */
    FAKE_SEND,    /* write todo->bytes */
    /* in todo->ms call fake_elapsed(), if no FAKE_COMMAND or FAKE_SEND comes before */
    FAKE_WAIT,
    FAKE_CLOSE,  /* close the connection: the step is over */
    FAKE_BREACH, /* close it: the server broke the protocol, todo->reason says how */
};

struct fake_todo {
    enum fake_do what;
    /* FAKE_SEND; good until the next call of a function of this fake */
    const char *bytes;
    size_t len;
    const char *line; /* FAKE_COMMAND, without its newline; good for as long */
    size_t line_len;
    unsigned ms;
    const char *reason; /* static */
};

struct fake;

/* NULL without memory. at: the number of the command for `leave`. */
struct fake *fake_new(const struct fake_caller *caller, enum fake_leave leave,
                      unsigned at);
void fake_free(struct fake *f);

/* Events. After each, fake_next() until it says FAKE_READ, FAKE_CLOSE or FAKE_BREACH; it
 * does one thing a time, so that responses to commands sent ahead can be told apart. */
void fake_received(struct fake *f, const char *bytes, size_t len);
void fake_elapsed(struct fake *f);
/* The caller hangs up now. */
void fake_hangup(struct fake *f);
/* The server closed its sending side, or the connection. */
void fake_eof(struct fake *f);
void fake_next(struct fake *f, struct fake_todo *todo);

/* AGISTATUS, were the step to end now. */
enum fake_status { FAKE_SUCCESS, FAKE_FAILURE, FAKE_HANGUP };
const char *fake_status_name(enum fake_status status);

struct fake_result {
    enum fake_status status;
    unsigned commands; /* that were taken */
    unsigned refused;  /* of these, answered 510 or 520 */
    bool running;      /* one has no response yet */
    bool ahead;        /* one was sent before the one before it was answered */
    bool over; /* the caller left, or the server hung up: the server has to close */
    bool caller_left;
    /* The first number that the server gave: as SAY NUMBER says it (a C int), the digits
     * of SAY DIGITS, or TALLY_NUMBER. "" for none. Good for as long as the fake is, and
     * so is tally_status, which is NULL where TALLY_STATUS was not set. */
    const char *number;
    const char *tally_status;
};
void fake_result(const struct fake *f, struct fake_result *result);

/* The variables that the server set, in the order in which they came to be; false at the
 * end. */
bool fake_variable(const struct fake *f, size_t index, const char **name,
                   const char **value);

#endif

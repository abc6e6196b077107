/* server/script.h: call scripts, compiled once from tally.conf into tables of steps. No
 * I/O. deploy/SCRIPTS.md tells the language to those who write scripts. What binds here:
 *
 * A [script NAME] has lines "step = VERB WORD...", "on-error = VERB WORD...", and at most
 * one "counter = WORD". Words are parted by blanks; `"` groups, `\` takes the next byte
 * as it is. ${NAME} is replaced when the step runs. What comes in is data: it never makes
 * another word, and is escaped for Asterisk. %Y %m %d %H %M are local time, in counter
 * names only.
 *
 * A step fails when Asterisk refuses the command (510, 520), when it answers -1 though
 * the caller is there, when a count or get comes back with another status than FINAL or
 * PROVISIONAL, when a needed key was not pressed, or when its text makes no sense in its
 * place ("say-number abc"). Then the script's steps end and its on-error steps run, each
 * whatever became of the one before. A script without on-error lines that makes any sound
 * gets these, so that its caller is not left in silence:
 *     on-error = stream-file please-try-call-later
 *     on-error = hangup                              where its last step is hangup
 * In a script without sound and without on-error lines the next step runs: it tells the
 * dialplan. A stream-file whose file is missing has not failed: the call goes on without
 * that sound, and Asterisk makes the call's AGISTATUS FAILURE. */
#ifndef SERVER_SCRIPT_H
#define SERVER_SCRIPT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/conf.h"
#include "common/err.h"

struct script; /* one script: immutable */

/* All of them. The ready-made ones (hits, count, get, vote, refused) are there too,
 * unless tally.conf has one of the same name. */
struct script_table;

/* On ERR_OK *table is the caller's, to be freed by script_table_free(); it keeps no
 * pointer into conf.
 * Errors: ERR_MALFORMED, ERR_RANGE, ERR_TOO_LONG, ERR_EXISTS (said twice), ERR_NOT_FOUND
 *         (conf's default-script): error->text has file:line and what was expected
 *         ERR_MEMORY */
enum err script_compile(const struct conf *conf, struct script_table **table,
                        struct conf_error *error);
void script_table_free(struct script_table *table);

/* NULL where there is none. name needs no NUL behind it. */
const struct script *script_find(const struct script_table *table, const char *name,
                                 size_t len);

/* The one that runs where a call's script does not exist or may not run; ${error} says
 * why. */
const struct script *script_refused(const struct script_table *table);

/* The ready-made scripts as they would stand in tally.conf. */
const char *script_ready_made(void);

/* ---- for call.c: what a script is ---- */

enum {
    SCRIPT_STEPS_MAX = 100,      /* of one script, and as many on-error steps */
    SCRIPT_SLOTS_MAX = 64,       /* different variables of one script */
    SCRIPT_INTO_MAX = 64,        /* keys that one into= can hold */
    SCRIPT_INTO_NAME_MAX = 16,   /* bytes of its name */
    SCRIPT_KEY_MS_MAX = 3600000, /* a wait for a key; every wait has a bound */
};

/* Where a piece's bytes come from. */
enum script_source {
    SCRIPT_TEXT,    /* the script itself */
    SCRIPT_TIME,    /* local time: code is one of "YmdHM" */
    SCRIPT_SLOT,    /* the call's slot of that index */
    SCRIPT_COUNTER, /* the counter that the URL names, else the script's own */
    SCRIPT_NUMBER,  /* of the last count or get, as the next two */
    SCRIPT_TOTAL,
    SCRIPT_STATUS,
    SCRIPT_NODE, /* this node's name */
};

struct script_piece {
    enum script_source from;
    char code;
    uint16_t slot;
    uint32_t len;
    const char *text;
};

/* Pieces that follow each other without a gap. */
struct script_text {
    const struct script_piece *piece;
    size_t count;
};

/* What a call has to keep, because a step uses it later. */
enum script_slot_kind {
    SCRIPT_SLOT_ENV,    /* agi_NAME: index is an enum agi_name */
    SCRIPT_SLOT_ARG,    /* agi_arg_N: index is N - 1 */
    SCRIPT_SLOT_OPTION, /* the argument "NAME=..." */
    SCRIPT_SLOT_ERROR,  /* why the call was refused */
    SCRIPT_SLOT_INTO,   /* keys that the caller pressed */
};

struct script_slot {
    enum script_slot_kind kind;
    uint16_t index;
    uint16_t max;     /* SCRIPT_SLOT_INTO: bytes */
    const char *name; /* SCRIPT_SLOT_OPTION, SCRIPT_SLOT_INTO */
};

enum script_verb {
    SCRIPT_COMMAND, /* without rules of its own: answer, set-variable, verbose, exec */
    SCRIPT_WAIT,
    SCRIPT_COUNT,
    SCRIPT_GET,
    SCRIPT_STREAM_FILE,
    SCRIPT_SAY_NUMBER,
    SCRIPT_SAY_DIGITS,
    SCRIPT_GET_DATA,
    SCRIPT_WAIT_FOR_DIGIT,
    SCRIPT_HANGUP,
};

struct script_step {
    enum script_verb verb;
    /* The line for Asterisk with its newline, quotes and escapes in place; only what is
     * put in for its variables is yet to be escaped. Empty for count, get, wait,
     * say-number and say-digits. */
    struct script_text command;
    struct script_text
        text; /* count, get: the counter; say-number, say-digits: what is said */
    struct script_text by, id, tag; /* count; what comes out empty was not given */
    unsigned ms;        /* wait; get-data, wait-for-digit: Asterisk's wait for a key */
    uint16_t into;      /* get-data, wait-for-digit: the slot */
    const char *digits; /* the same two: the keys that count, "" for any, even none */
    const char *gender; /* say-number: one letter or "" */
};

struct script_steps {
    const struct script_step *step;
    size_t count;
};

struct script {
    char name[CONF_SCRIPT_NAME_MAX + 1];
    struct script_steps steps, on_error; /* on_error: the default ones included */
    struct script_text counter;          /* for a URL that names none */
    const struct script_slot *slot;
    size_t slots;
};

#endif

/* server/fake_command.h: the AGI commands that Asterisk knows. No I/O.
 * Source: Asterisk 22 res/res_agi.c, the table of commands and their handlers. */
#ifndef SERVER_FAKE_COMMAND_H
#define SERVER_FAKE_COMMAND_H
#include <stdbool.h>
#include <stddef.h>

enum fake_verb {
    VERB_ANSWER,
    VERB_CHANNEL_STATUS,
    VERB_DATABASE_GET,
    VERB_EXEC,
    VERB_GET_DATA,
    VERB_GET_FULL_VARIABLE,
    VERB_GET_OPTION,
    VERB_GET_VARIABLE,
    VERB_HANGUP,
    VERB_SAY,        /* what says something and checks nothing of it */
    VERB_SAY_DIGITS, /* takes a number as its first argument, and says its digits */
    VERB_SAY_NUMBER,
    VERB_SAY_TIME, /* takes a number as its first argument */
    VERB_SET_VARIABLE,
    VERB_STREAM_FILE,
    VERB_WAIT_FOR_DIGIT,
    VERB_ZERO, /* answers 200 result=0: NOOP, and what there is nothing to play for */
    VERB_ONE,  /* answers 200 result=1 */
};

/* What a command that still runs when the caller hangs up answers. */
enum fake_cut { CUT_NOT, CUT_MINUS_ONE, CUT_ENDPOS };

struct fake_command {
    const char *name;  /* its words, in capitals */
    const char *usage; /* what follows them */
    enum fake_verb verb;
    unsigned words;                /* of its name */
    unsigned words_min, words_max; /* of the line, the name included; else 520 */
    bool on_dead;                  /* runs on a dead channel; else 511 */
    enum fake_cut cut;
    bool stops; /* bytes from the server stop it, and then it has no response */
};

/* The command that a line of these words is; NULL for 510. */
const struct fake_command *fake_command_find(const char *const *words, size_t count);

#endif

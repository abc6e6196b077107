/* replica/ctl_words.h: tallyctl's command line: options, a command, and what stands behind it. Pure. */
#ifndef REPLICA_CTL_WORDS_H
#define REPLICA_CTL_WORDS_H
#include <stdbool.h>
#include <stddef.h>

enum ctl_option {
    CTL_OPT_CONF,
    CTL_OPT_DIR,
    CTL_OPT_JSON,
    CTL_OPT_UTC,
    CTL_OPT_COLOR,
    CTL_OPT_HELP,
    CTL_OPT_VERSION,
    CTL_OPT_SORT, /* from here on: of some commands only */
    CTL_OPT_REVERSE,
    CTL_OPT_LIMIT,
    CTL_OPT_FINGERPRINT,
    CTL_OPT_COUNTER,
    CTL_OPT_NODE,
    CTL_OPT_TAG,
    CTL_OPT_SINCE,
    CTL_OPT_UNTIL,
    CTL_OPT_FOLLOW,
    CTL_OPT_FROM,
    CTL_OPT_FORMAT,
    CTL_OPT_REASON,
    CTL_OPT_ID,
    CTL_OPT_EVENTS,
    CTL_OPT_WITH_KEY,
    CTL_OPT_KEY,
    CTL_OPT_NEW_KEY,
    CTL_OPT_SKIP,
    CTL_OPT_ALL,
    CTL_OPT_UNDO,
    CTL_OPTIONS
};

/* A row of the one table of options. */
struct ctl_option_row {
    const char *name;   /* "limit" */
    char letter;        /* 'c', or 0 where there is only the name */
    const char *value;  /* what it takes, as help shows it: "N"; NULL: nothing */
    const char *values; /* the words that it takes, with blanks between; NULL: any */
    const char *help;   /* one line */
};
extern const struct ctl_option_row ctl_option_rows[CTL_OPTIONS];
bool ctl_option_is_general(enum ctl_option option);

/* All strings are the command line's. */
struct ctl_words {
    const char
        *option[CTL_OPTIONS]; /* its value, "" where it takes none; NULL: not given */
    const char *command;      /* NULL: none */
    char **arg;               /* what stands behind it */
    int args;
};

enum { CTL_WORD_MAX = 4096 }; /* bytes of a word, at most */

/* Take argv apart; its order may change. A word such as -3 is no option but the last of what stands behind the
 * command. False: error, which has room for size bytes, says what is wrong. */
bool ctl_words_read(int argc, char **argv, struct ctl_words *words, char *error,
                    size_t size);
/* Numbers as options take them: digits, 1 to 10^15. */
bool ctl_words_number(const char *text, unsigned long long *number);

#endif

#include "replica/ctl_words.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/nearest.h"

const struct ctl_option_row ctl_option_rows[CTL_OPTIONS] = {
    [CTL_OPT_CONF] = {"conf", 'c', "FILE", NULL, "the node's configuration"},
    [CTL_OPT_DIR] = {"dir", 'd', "DIR", NULL, "the node's state directory"},
    [CTL_OPT_JSON] = {"json", 0, NULL, NULL, "one JSON object a line, for programs"},
    [CTL_OPT_UTC] = {"utc", 0, NULL, NULL, "times in UTC, not in local time"},
    [CTL_OPT_COLOR] = {"color", 0, "WHEN", "auto always never",
                       "auto (on a terminal), always or never"},
    [CTL_OPT_HELP] = {"help", 'h', NULL, NULL, "tell the usage and exit"},
    [CTL_OPT_VERSION] = {"version", 'V', NULL, NULL, "print the version and exit"},
    [CTL_OPT_SORT] = {"sort", 0, "BY", "name total", "by name, or by total"},
    [CTL_OPT_REVERSE] = {"reverse", 0, NULL, NULL, "the last one first"},
    [CTL_OPT_LIMIT] = {"limit", 0, "N", NULL, "at most N lines"},
    [CTL_OPT_FINGERPRINT] = {"fingerprint", 0, NULL, NULL,
                             "the fingerprint alone, short enough to compare"},
    [CTL_OPT_COUNTER] = {"counter", 0, "PATTERN", NULL, "on counters like 'vote-*'"},
    [CTL_OPT_NODE] = {"node", 0, "PATTERN", NULL, "taken by nodes like this"},
    [CTL_OPT_TAG] = {"tag", 0, "TEXT", NULL, "with TEXT in their tag"},
    [CTL_OPT_SINCE] = {"since", 0, "TIME", NULL, "from TIME on"},
    [CTL_OPT_UNTIL] = {"until", 0, "TIME", NULL, "before TIME"},
    [CTL_OPT_FOLLOW] = {"follow", 'f', NULL, NULL, "go on with what comes, until Ctrl-C"},
    [CTL_OPT_FROM] = {"from", 0, "POSITION", NULL, "from where one left off"},
    [CTL_OPT_FORMAT] = {"format", 0, "FORMAT", "csv json", "csv (the default) or json"},
    [CTL_OPT_REASON] = {"reason", 0, "TEXT", NULL, "why, for the log"},
    [CTL_OPT_ID] = {"id", 0, "HEX", NULL, "of a count that is asked for once more"},
    [CTL_OPT_EVENTS] = {"events", 0, NULL, NULL,
                        "what happens at the node, not counters"},
    [CTL_OPT_WITH_KEY] = {"with-key", 0, NULL, NULL, "the node's private key, too"},
    [CTL_OPT_KEY] = {"key", 0, "FILE", NULL, "the node's private key"},
    [CTL_OPT_NEW_KEY] = {"new-key", 0, NULL, NULL,
                         "make a key, where the node's is lost"},
    [CTL_OPT_SKIP] = {"skip", 0, "N", NULL, "numbers that may have been said since"},
    [CTL_OPT_ALL] = {"all", 0, NULL, NULL, "those that are retired, too"},
    [CTL_OPT_UNDO] = {"undo", 0, NULL, NULL, "show what was retired"},
};

bool ctl_option_is_general(enum ctl_option option)
{
    return option < CTL_OPT_SORT;
}

/* ---- getopt's tables, made from ours ---- */

enum { LONG_BASE = 256 }; /* what getopt_long() returns: this and the option's number */

static void make_tables(struct option longs[CTL_OPTIONS + 1],
                        char letters[2 * CTL_OPTIONS + 2])
{
    *letters++ = ':'; /* a missing value is told apart from an unknown option */
    for (int i = 0; i < CTL_OPTIONS; i++) {
        const struct ctl_option_row *row = &ctl_option_rows[i];

        longs[i] = (struct option){row->name,
                                   row->value != NULL ? required_argument : no_argument,
                                   NULL, LONG_BASE + i};
        if (row->letter == 0)
            continue;
        *letters++ = row->letter;
        if (row->value != NULL)
            *letters++ = ':';
    }
    longs[CTL_OPTIONS] = (struct option){NULL, 0, NULL, 0};
    *letters = '\0';
}

static int option_of(int got)
{
    if (got >= LONG_BASE)
        return got - LONG_BASE;
    for (int i = 0; i < CTL_OPTIONS; i++)
        if (ctl_option_rows[i].letter == got)
            return i;
    return -1;
}

/* ---- what may be wrong ---- */

static bool refuse_unknown(const char *word, int letter, char *error, size_t size)
{
    char name[NEAREST_WORD_MAX + 1];
    struct nearest near = nearest_to(name);

    if (letter != 0) {
        snprintf(error, size, "-%c is no option", letter);
        return false;
    }
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    near = nearest_to(name);
    for (int i = 0; i < CTL_OPTIONS; i++)
        nearest_try(&near, ctl_option_rows[i].name);
    if (near.best != NULL)
        snprintf(error, size, "%s is no option: did you mean --%s?", word, near.best);
    else
        snprintf(error, size, "%s is no option", word);
    return false;
}

/* got: ':' or '?'. */
static bool refuse(int got, char **argv, char *error, size_t size)
{
    const char *word = argv[optind - 1];
    int option = option_of(optopt);

    if (got == ':')
        snprintf(error, size, "--%s needs a value: %s", ctl_option_rows[option].name,
                 ctl_option_rows[option].value);
    else if (optopt >= LONG_BASE)
        snprintf(error, size, "--%s takes no value", ctl_option_rows[option].name);
    else
        return refuse_unknown(word, optopt, error, size);
    return false;
}

static bool one_of(const char *value, const char *values)
{
    size_t len = strlen(value);

    for (const char *at = values; *at != '\0'; at += strspn(at, " ")) {
        size_t word = strcspn(at, " ");

        if (word == len && memcmp(at, value, len) == 0)
            return true;
        at += word;
    }
    return false;
}

static bool take(struct ctl_words *words, int option, const char *value, char *error,
                 size_t size)
{
    const struct ctl_option_row *row = &ctl_option_rows[option];

    if (words->option[option] != NULL && row->value != NULL)
        snprintf(error, size, "--%s is given twice", row->name);
    else if (value != NULL && strlen(value) > CTL_WORD_MAX)
        snprintf(error, size, "--%s: expected at most %d bytes", row->name, CTL_WORD_MAX);
    else if (row->values != NULL && !one_of(value, row->values))
        snprintf(error, size, "--%s %.64s: expected one of: %s", row->name, value,
                 row->values);
    else
        words->option[option] = value != NULL ? value : "";
    return *error == '\0';
}

static bool is_negative(const char *word)
{
    return word[0] == '-' && word[1] != '\0' &&
           strspn(word + 1, "0123456789") == strlen(word + 1);
}

static bool takes_value(const char *word)
{
    for (int i = 0; i < CTL_OPTIONS; i++) {
        const struct ctl_option_row *row = &ctl_option_rows[i];
        bool named = strncmp(word, "--", 2) == 0 && strcmp(word + 2, row->name) == 0;
        bool lettered = row->letter != 0 && word[0] == '-' && word[1] == row->letter &&
                        word[2] == '\0';

        if (row->value != NULL && (named || lettered))
            return true;
    }
    return false;
}

/* Move a negative number to argv's end, where getopt is not to see it. Whether there was one. */
static bool put_aside(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        char *word = argv[i];

        if (!is_negative(word) || takes_value(argv[i - 1]))
            continue;
        memmove(argv + i, argv + i + 1, (size_t)(argc - i - 1) * sizeof *argv);
        argv[argc - 1] = word;
        return true;
    }
    return false;
}

bool ctl_words_read(int argc, char **argv, struct ctl_words *words, char *error,
                    size_t size)
{
    struct option longs[CTL_OPTIONS + 1];
    char letters[2 * CTL_OPTIONS + 2];
    bool negative = put_aside(argc, argv);
    int got;

    argc -= negative;
    *words = (struct ctl_words){.command = NULL};
    *error = '\0';
    make_tables(longs, letters);
    opterr = 0;
    optind = 0; /* anew, also where a test calls this more than once */
    while ((got = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        if (got == '?' || got == ':')
            return refuse(got, argv, error, size);
        if (!take(words, option_of(got), optarg, error, size))
            return false;
    }
    for (int i = optind; i < argc; i++) {
        if (strlen(argv[i]) <= CTL_WORD_MAX)
            continue;
        snprintf(error, size, "%.32s...: expected at most %d bytes", argv[i],
                 CTL_WORD_MAX);
        return false;
    }
    if (optind < argc)
        words->command = argv[optind++];
    words->arg = argv + optind;
    words->args = argc - optind + negative;
    return true;
}

bool ctl_words_number(const char *text, unsigned long long *number)
{
    size_t len = strlen(text);

    if (len == 0 || len > 15 || strspn(text, "0123456789") != len)
        return false;
    *number = strtoull(text, NULL, 10);
    return *number > 0;
}

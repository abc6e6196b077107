/* server/stats.h: how calls went: one verdict per call, the sums, and their report. */
#ifndef SERVER_STATS_H
#define SERVER_STATS_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "server/caller.h"
#include "server/histogram.h"

enum verdict {
    VERDICT_OK,
    VERDICT_HUNG_UP, /* the caller left, and the server closed in order */
    VERDICT_NO_CONNECTION,
    VERDICT_NO_MEANS,
    VERDICT_EMPTY,
    VERDICT_CUT,
    VERDICT_SILENT,
    VERDICT_BREACH,
    VERDICT_COMMAND,   /* a command was answered 510 or 520 */
    VERDICT_STATUS,    /* TALLY_STATUS is neither FINAL nor PROVISIONAL */
    VERDICT_FAILURE,   /* AGISTATUS is FAILURE */
    VERDICT_NO_NUMBER, /* none was said, nor set as TALLY_NUMBER, and one was expected */
    VERDICTS,
};

/* A word for JSON ("no_connection"), and a sentence for people. Static. */
const char *verdict_key(enum verdict verdict);
const char *verdict_text(enum verdict verdict);

enum verdict verdict_of(const struct caller_outcome *outcome, bool number_expected);

/* Exit codes of agicall. */
enum {
    EXIT_OK = 0,
    EXIT_CALL_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NO_CONNECTION = 3,
    EXIT_BROKEN = 4
};

struct stats {
    bool number_expected;
    int numbers_fd; /* where numbers go as they become known, -1 for nowhere */
    uint64_t calls, verdicts[VERDICTS], numbers;
    uint64_t begun_ns, ended_ns;
    struct histogram first, gap, whole;
};

/* With all zero but what is given. numbers_path may be NULL.
 * Errors: ERR_IO and ERR_NOT_FOUND, logged. */
enum err stats_open(struct stats *stats, const char *numbers_path, bool number_expected);
void stats_close(struct stats *stats);

void stats_command(struct stats *stats, uint64_t us, bool first);
/* Counts it and appends it to the file in one write, before its command is answered:
 * whoever kills the server finds every number there that was said. Ends the program where
 * it cannot be written. */
void stats_number(struct stats *stats, const char *number);
enum verdict stats_ended(struct stats *stats, const struct caller_outcome *outcome);

uint64_t stats_failed(const struct stats *stats);
double stats_seconds(const struct stats *stats);
/* Of all calls: 4 goes before 3, and that before 1. */
int stats_exit_code(const struct stats *stats);

void stats_print(const struct stats *stats, FILE *out);
/* The caller's, to be freed by json_decref(); NULL without memory. */
json_t *stats_json(const struct stats *stats);

#endif

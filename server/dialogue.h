/* server/dialogue.h: one call, shown as it goes, or told as JSON in the end. */
#ifndef SERVER_DIALOGUE_H
#define SERVER_DIALOGUE_H
#include <stdbool.h>

#include "common/err.h"
#include "server/caller.h"
#include "server/stats.h"

struct dialogue_plan {
    const char *url;
    struct caller_choice choice;
    bool json;    /* nothing but one JSON object */
    bool verbose; /* the whole environment */
    bool colour;
};

/* Make the call, write to standard output, and fill *stats.
 * Errors: ERR_IO, ERR_MEMORY. */
enum err dialogue_run(const struct dialogue_plan *plan, struct caller_plan *call,
                      struct stats *stats);

#endif

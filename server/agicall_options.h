/* server/agicall_options.h: agicall's command line. */
#ifndef SERVER_AGICALL_OPTIONS_H
#define SERVER_AGICALL_OPTIONS_H
#include <stdbool.h>
#include <stdint.h>

#include "server/caller.h"
#include "server/fake_env.h"
#include "server/fake_url.h"
#include "server/load.h"

enum { OPTIONS_REPEATS_MAX = 64 }; /* of one option that may be repeated */

enum options_colour { COLOUR_AUTO, COLOUR_ALWAYS, COLOUR_NEVER };

/* The strings are argv's. */
struct options {
    const char *url;
    const char *const *args;
    size_t arg_count;

    struct fake_env env; /* what was given of it */
    struct fake_caller fake;
    const char
        *variables[OPTIONS_REPEATS_MAX + 1]; /* --var, and what --no-sighup stands for */
    size_t variable_count;
    const char *missing[OPTIONS_REPEATS_MAX];
    size_t missing_count;

    unsigned hangup_at, hangup_after_ms, timeout_ms, retry_ms;
    bool load, json, verbose;
    enum options_colour colour;
    int number_expected; /* --expect: 1 number, 0 close, -1 not given */
    const char *numbers_path;
    struct load_plan load_plan;
};

/* Does not return where all is said already: --help and --version exit with 0, a mistake
 * with 2. */
void options_parse(int argc, char **argv, struct options *options);

#endif

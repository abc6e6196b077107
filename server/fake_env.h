/* server/fake_env.h: the environment that opens a FastAGI connection, as Asterisk 22
 * sends it. No I/O.
 * Source: Asterisk res/res_agi.c, launch_netscript() and setup_env(), and recorded calls:
 * "name: value" lines ended by \n in a fixed order, nothing escaped; an empty line. */
#ifndef SERVER_FAKE_ENV_H
#define SERVER_FAKE_ENV_H
#include <stddef.h>

#include "common/err.h"

enum {
    FAKE_ENV_LINES_MAX = 64, /* that override or follow the usual ones */
    FAKE_ENV_ARGS_MAX = 127, /* what AGI() takes */
};

/* What a call's environment says. NULL stands for what a plain call has; the strings are
 * the caller's. */
struct fake_env {
    const char *request;   /* the URL */
    const char *script;    /* its path, "" for no line */
    const char *channel;   /* default PJSIP/agicall-00000000 */
    const char *unique_id; /* default 0.0 */
    const char *caller_id; /* default "unknown", and so is the name's */
    const char *caller_name;
    const char *language;  /* default en */
    const char *extension; /* default s, and h on a dead channel */
    /* "NAME=VALUE", NAME without its agi_: takes the place of the usual line of that
     * name, or stands behind them all. */
    const char *lines[FAKE_ENV_LINES_MAX];
    size_t line_count;
    const char *const *args;
    size_t arg_count;
};

/* On ERR_OK *text, with a NUL behind its *len bytes, is the caller's to free().
 * Errors: ERR_MEMORY. */
enum err fake_env_format(const struct fake_env *env, char **text, size_t *len);

#endif

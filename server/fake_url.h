/* server/fake_url.h: agi://HOST[:PORT][/PATH], taken apart as Asterisk does. No I/O. */
#ifndef SERVER_FAKE_URL_H
#define SERVER_FAKE_URL_H
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum {
    FAKE_URL_PORT = 4573,
    FAKE_URL_HOST_MAX = 255,  /* bytes, what DNS allows */
    FAKE_URL_BYTES_MAX = 8190 /* of the whole, what AGI() takes in a dialplan */
};

/* The strings but `host` point into the parsed URL. */
struct fake_url {
    const char *whole;
    char host[FAKE_URL_HOST_MAX + 1]; /* without the brackets of an IPv6 literal */
    uint16_t port;
    /* behind the first '/' after host and port, untouched; "" for none */
    const char *path;
};

/* hagi:// is taken like agi://, without the look-up of SRV records that Asterisk does.
 * On an error *reason says what was expected; static.
 * Errors: ERR_MALFORMED  no agi://, no host, or no number behind the colon
 *         ERR_RANGE      a port outside 1 to 65535
 *         ERR_TOO_LONG   a host or a URL above its limit */
enum err fake_url_parse(const char *text, struct fake_url *url, const char **reason);

#endif

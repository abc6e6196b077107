/* common/value.h: the values of tally.conf as text and back: numbers with units, addresses,
 * networks. Pure but for the names of network interfaces. */
#ifndef COMMON_VALUE_H
#define COMMON_VALUE_H
#include <stddef.h>
#include <stdint.h>

#include "common/conf.h"
#include "common/err.h"

/* Largest first; the last one has factor 1, and the empty name where a bare number will do. */
struct value_unit {
    const char *name;
    uint64_t factor;
};

extern const struct value_unit value_plain[1];    /* "12" */
extern const struct value_unit value_duration[4]; /* "500ms", "3s", "10m", "2h", in ms */
extern const struct value_unit value_size[4]; /* "100", "64k", "16m", "1g", in bytes */

enum { VALUE_NUMBER_SIZE = 32, VALUE_ADDRESS_SIZE = 64 }; /* bytes, with the NUL */

/* Digits and a unit, nothing else.
 * Errors: ERR_MALFORMED, ERR_RANGE (above UINT64_MAX). */
enum err value_number_parse(const char *text, const struct value_unit *units,
                            uint64_t *v);
/* In the largest unit of which it is a whole number. */
void value_number_format(uint64_t v, const struct value_unit *units,
                         char out[VALUE_NUMBER_SIZE]);

/* "127.0.0.1:4573", "[::1]:4573", "[fe80::1%eth0]:4573". Does not touch listen->line.
 * Errors: ERR_MALFORMED, ERR_RANGE (a port that is not 1 to 65535). */
enum err value_listen_parse(const char *text, struct conf_listen *listen);

/* "192.0.2.7:4574", "[2001:db8::7]:4574", "node-b.example.net:4574": whether it has that form. Nothing is
 * resolved. Errors: ERR_MALFORMED, ERR_RANGE (a port that is not 1 to 65535). */
enum err value_endpoint_check(const char *text);

/* "10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "any". Does not touch network->line.
 * Errors: ERR_MALFORMED; ERR_RANGE where bits are set beyond the prefix, or the prefix is too long. */
enum err value_network_parse(const char *text, struct conf_network *network);
void value_network_format(const struct conf_network *network,
                          char out[VALUE_ADDRESS_SIZE]);

#endif

#include "common/value.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

const struct value_unit value_plain[1] = {{"", 1}};
const struct value_unit value_duration[4] = {
    {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
const struct value_unit value_size[4] = {
    {"g", 1 << 30}, {"m", 1 << 20}, {"k", 1 << 10}, {"", 1}};

/* Decimal digits up to the first byte that is none. Not strtoull(), which takes signs and blanks. */
static enum err digits_parse(const char **text, uint64_t *v)
{
    const char *at = *text;

    if (*at < '0' || *at > '9')
        return ERR_MALFORMED;
    for (*v = 0; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(*v, 10, v) ||
            __builtin_add_overflow(*v, (uint64_t)(*at - '0'), v))
            return ERR_RANGE;
    *text = at;
    return ERR_OK;
}

enum err value_number_parse(const char *text, const struct value_unit *units, uint64_t *v)
{
    enum err err = digits_parse(&text, v);

    if (err != ERR_OK)
        return err;
    for (;; units++) {
        if (strcmp(text, units->name) == 0)
            return __builtin_mul_overflow(*v, units->factor, v) ? ERR_RANGE : ERR_OK;
        if (units->factor == 1)
            return ERR_MALFORMED;
    }
}

void value_number_format(uint64_t v, const struct value_unit *units,
                         char out[VALUE_NUMBER_SIZE])
{
    while (v < units->factor || v % units->factor != 0) {
        if (units->factor == 1)
            break;
        units++;
    }
    snprintf(out, VALUE_NUMBER_SIZE, "%llu%s", (unsigned long long)(v / units->factor),
             units->name);
}

static enum err port_parse(const char *text, in_port_t *port)
{
    uint64_t v;
    enum err err = value_number_parse(text, value_plain, &v);

    if (err != ERR_OK)
        return err;
    if (v < 1 || v > UINT16_MAX)
        return ERR_RANGE;
    *port = htons((uint16_t)v);
    return ERR_OK;
}

static enum err listen_parse_4(const char *host, in_port_t port,
                               struct conf_listen *listen)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&listen->addr;

    *in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
    listen->len = sizeof *in;
    return inet_pton(AF_INET, host, &in->sin_addr) == 1 ? ERR_OK : ERR_MALFORMED;
}

/* Writes into host: cuts the interface off. */
static enum err listen_parse_6(char *host, in_port_t port, struct conf_listen *listen)
{
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)&listen->addr;
    char *scope = strchr(host, '%');

    *in = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
    listen->len = sizeof *in;
    if (scope != NULL) {
        *scope = '\0';
        in->sin6_scope_id = if_nametoindex(scope + 1);
        if (in->sin6_scope_id == 0)
            return ERR_MALFORMED;
    }
    return inet_pton(AF_INET6, host, &in->sin6_addr) == 1 ? ERR_OK : ERR_MALFORMED;
}

enum err value_listen_parse(const char *text, struct conf_listen *listen)
{
    char host[sizeof listen->text];
    size_t len = strlen(text);
    char *colon;
    in_port_t port;
    enum err err;

    if (len >= sizeof listen->text)
        return ERR_MALFORMED;
    memset(&listen->addr, 0, sizeof listen->addr);
    memcpy(listen->text, text, len + 1);
    memcpy(host, text, len + 1);
    colon = strrchr(host, ':');
    if (colon == NULL)
        return ERR_MALFORMED;
    *colon = '\0';
    err = port_parse(colon + 1, &port);
    if (err != ERR_OK)
        return err;
    if (host[0] != '[')
        return listen_parse_4(host, port, listen);
    if (colon[-1] != ']')
        return ERR_MALFORMED;
    colon[-1] = '\0';
    return listen_parse_6(host + 1, port, listen);
}

enum { HOST_LABEL_MAX = 63 }; /* bytes, RFC 1035 */

/* Labels of letters, digits and '-', with dots between. What ends in a number is an IPv4 address, or a slip. */
static bool host_name_valid(const char *host)
{
    const char *last = strrchr(host, '.');
    size_t label = 0;

    for (const char *c = host; *c != '\0'; c++) {
        bool digit = *c >= '0' && *c <= '9';
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');

        if (!digit && !letter && !(label > 0 && (*c == '-' || *c == '.')))
            return false;
        label = *c == '.' ? 0 : label + 1;
        if (label > HOST_LABEL_MAX)
            return false;
    }
    last = last != NULL ? last + 1 : host;
    return label > 0 && strspn(last, "0123456789") != strlen(last);
}

enum err value_endpoint_check(const char *text)
{
    char host[CONF_ADDRESS_MAX + 1];
    size_t len = strlen(text);
    struct in6_addr addr;
    in_port_t port;
    char *colon;
    enum err err;

    if (len >= sizeof host)
        return ERR_MALFORMED;
    memcpy(host, text, len + 1);
    colon = strrchr(host, ':');
    if (colon == NULL || colon == host)
        return ERR_MALFORMED;
    *colon = '\0';
    err = port_parse(colon + 1, &port);
    if (err != ERR_OK)
        return err;
    if (host[0] != '[')
        return inet_pton(AF_INET, host, &addr) == 1 || host_name_valid(host)
                   ? ERR_OK
                   : ERR_MALFORMED;
    if (colon[-1] != ']')
        return ERR_MALFORMED;
    colon[-1] = '\0';
    return inet_pton(AF_INET6, host + 1, &addr) == 1 ? ERR_OK : ERR_MALFORMED;
}

/* Whether no bit stands beyond the first `bits`: "10.1.2.3/8" is more likely a slip than a wish. */
static bool prefix_only(const struct in6_addr *addr, unsigned bits)
{
    for (unsigned i = bits; i < 128; i++)
        if ((addr->s6_addr[i / 8] >> (7 - i % 8) & 1) != 0)
            return false;
    return true;
}

static bool network_address_parse(const char *text, struct conf_network *network)
{
    struct in6_addr *addr = &network->addr;

    if (inet_pton(AF_INET6, text, addr) == 1) {
        network->family = AF_INET6;
        return true;
    }
    *addr = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
    network->family = AF_INET;
    return inet_pton(AF_INET, text, addr->s6_addr + 12) == 1;
}

enum err value_network_parse(const char *text, struct conf_network *network)
{
    char address[VALUE_ADDRESS_SIZE];
    size_t len = strcspn(text, "/");
    uint64_t bits;

    if (strcmp(text, "any") == 0) {
        network->family = AF_UNSPEC;
        network->addr = in6addr_any;
        network->bits = 0;
        return ERR_OK;
    }
    if (len >= sizeof address)
        return ERR_MALFORMED;
    memcpy(address, text, len);
    address[len] = '\0';
    if (!network_address_parse(address, network))
        return ERR_MALFORMED;
    bits = network->family == AF_INET ? 32 : 128;
    if (text[len] == '/') {
        uint64_t most = bits;
        enum err err = value_number_parse(text + len + 1, value_plain, &bits);

        if (err != ERR_OK)
            return err;
        if (bits > most)
            return ERR_RANGE;
    }
    network->bits = (unsigned)bits + (network->family == AF_INET ? 96 : 0);
    if (IN6_IS_ADDR_V4MAPPED(&network->addr) && network->bits >= 96)
        network->family = AF_INET;
    return prefix_only(&network->addr, network->bits) ? ERR_OK : ERR_RANGE;
}

void value_network_format(const struct conf_network *network,
                          char out[VALUE_ADDRESS_SIZE])
{
    bool four = network->family == AF_INET;
    char address[INET6_ADDRSTRLEN];

    if (network->family == AF_UNSPEC) {
        snprintf(out, VALUE_ADDRESS_SIZE, "any");
        return;
    }
    inet_ntop(network->family, network->addr.s6_addr + (four ? 12 : 0), address,
              sizeof address);
    snprintf(out, VALUE_ADDRESS_SIZE, "%s/%u", address, network->bits - (four ? 96 : 0));
}

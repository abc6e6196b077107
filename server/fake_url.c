#include "server/fake_url.h"

#include <string.h>
#include <strings.h>

static const char *skip_scheme(const char *text)
{
    if (strncasecmp(text, "agi://", 6) == 0)
        return text + 6;
    if (strncasecmp(text, "hagi://", 7) == 0)
        return text + 7;
    return NULL;
}

static enum err parse_port(const char *at, const char *end, uint16_t *port,
                           const char **reason)
{
    unsigned value = 0;

    *reason = "a port is a number of 1 to 65535";
    if (at == end)
        return ERR_MALFORMED;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return ERR_MALFORMED;
        value = value * 10 + (unsigned)(*at - '0');
        if (value > UINT16_MAX)
            return ERR_RANGE;
    }
    if (value == 0)
        return ERR_RANGE;
    *port = (uint16_t)value;
    return ERR_OK;
}

enum err fake_url_parse(const char *text, struct fake_url *url, const char **reason)
{
    const char *host = skip_scheme(text);
    const char *end, *host_end;

    *url = (struct fake_url){.whole = text, .port = FAKE_URL_PORT};
    *reason = "a URL begins with agi://HOST";
    if (host == NULL)
        return ERR_MALFORMED;
    *reason = "a URL has at most 8190 bytes";
    if (strlen(text) > FAKE_URL_BYTES_MAX)
        return ERR_TOO_LONG;
    *reason = "a URL holds no line break";
    if (strpbrk(text, "\r\n") != NULL)
        return ERR_MALFORMED;
    end = host + strcspn(host, "/");
    url->path = *end == '/' ? end + 1 : end;
    if (*host == '[') {
        host++;
        host_end = memchr(host, ']', (size_t)(end - host));
        *reason = "an IPv6 address stands in brackets: agi://[::1]/";
        if (host_end == NULL || (host_end + 1 < end && host_end[1] != ':'))
            return ERR_MALFORMED;
    } else {
        host_end = memchr(host, ':', (size_t)(end - host));
        if (host_end == NULL)
            host_end = end;
    }
    *reason = "a host has 1 to 255 bytes";
    if (host_end == host)
        return ERR_MALFORMED;
    if (host_end - host > FAKE_URL_HOST_MAX)
        return ERR_TOO_LONG;
    memcpy(url->host, host, (size_t)(host_end - host));
    if (*host_end == ']')
        host_end++;
    if (host_end == end)
        return ERR_OK;
    return parse_port(host_end + 1, end, &url->port, reason);
}

#include "server/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

/* errno, or 0 with *fd open. */
static int open_one(const struct conf_listen *at, unsigned backlog, int *fd)
{
    const int on = 1;
    int error;

    *fd = socket(at->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return errno;
    /* Accepted sockets inherit TCP_NODELAY: a call is spared a system call. */
    if (setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
        (at->addr.ss_family != AF_INET6 ||
         setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0) &&
        bind(*fd, (const struct sockaddr *)&at->addr, at->len) == 0 &&
        listen(*fd, (int)backlog) == 0)
        return 0;
    error = errno;
    close(*fd);
    return error;
}

/* Tries again while the address is in use. */
static int open_patiently(const struct conf_listen *at, unsigned backlog,
                          unsigned wait_ms, int *fd)
{
    enum { STEP_MS = 50 };
    const struct timespec step = {0, STEP_MS * 1000000L};
    int error;

    for (unsigned waited = 0;; waited += STEP_MS) {
        error = open_one(at, backlog, fd);
        if (error != EADDRINUSE || waited >= wait_ms)
            return error;
        if (waited == 0)
            log_info("%s is in use: trying again for %u s", at->text, wait_ms / 1000);
        nanosleep(&step, NULL);
    }
}

static int find(const struct listeners *listeners, const struct conf_listen *at)
{
    for (size_t i = 0; listeners != NULL && i < listeners->count; i++)
        if (listeners->address[i].len == at->len &&
            memcmp(&listeners->address[i].addr, &at->addr, at->len) == 0)
            return listeners->fd[i];
    return -1;
}

static void log_failure(const struct conf_listen *at, int error, const char *setting)
{
    if (error == EADDRINUSE)
        log_error("cannot listen on %s: %s: another program serves there (ss -ltnp shows "
                  "which); stop it, or change %s",
                  at->text, strerror(error), setting);
    else if (error == EADDRNOTAVAIL)
        log_error("cannot listen on %s: %s: this machine has no such address; change %s",
                  at->text, strerror(error), setting);
    else
        log_error("cannot listen on %s: %s%s", at->text, strerror(error),
                  error == EACCES ? ": a port below 1024 takes root, or a larger port"
                                  : "");
}

enum err listen_open(const struct conf_listen *at, unsigned backlog, unsigned wait_ms,
                     const char *setting, int *fd)
{
    int error = open_patiently(at, backlog, wait_ms, fd);

    if (error == 0)
        return ERR_OK;
    log_failure(at, error, setting);
    return ERR_IO;
}

static bool is_without_ipv6(const struct conf_listen *at, int error)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&at->addr;

    if (at->addr.ss_family != AF_INET6)
        return false;
    return error == EAFNOSUPPORT ||
           (error == EADDRNOTAVAIL && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr));
}

enum err listeners_open(const struct conf *conf, const struct listeners *old,
                        unsigned wait_ms, struct listeners *listeners)
{
    const struct conf_listen *failed = NULL;
    size_t count = conf->workers > 0 ? conf->listen_count : 0; /* A witness has none. */
    int failure = 0;

    memset(listeners, 0, sizeof *listeners);
    for (size_t i = 0; i < count; i++) {
        const struct conf_listen *at = &conf->listen[i];
        int fd = find(old, at), error = 0;

        if (find(listeners, at) >= 0)
            continue;
        if (fd < 0)
            error = open_patiently(at, conf->backlog, wait_ms, &fd);
        if (error != 0) {
            failed = at;
            failure = error;
            if (is_without_ipv6(at, error))
                continue;
            break;
        }
        listeners->address[listeners->count] = *at;
        listeners->fd[listeners->count++] = fd;
    }
    if (failed == NULL)
        return ERR_OK;
    if (is_without_ipv6(failed, failure) && listeners->count > 0) {
        log_warn("no IPv6 here: %s is left out", failed->text);
        return ERR_OK;
    }
    log_failure(failed, failure, "listen= in [fastagi]");
    listeners_close(listeners, old);
    return ERR_IO;
}

void listeners_close(const struct listeners *listeners, const struct listeners *kept)
{
    for (size_t i = 0; i < listeners->count; i++)
        if (find(kept, &listeners->address[i]) != listeners->fd[i])
            close(listeners->fd[i]);
}

void listeners_text(const struct listeners *listeners, char *text, size_t size)
{
    size_t len = 0;

    text[0] = '\0';
    for (size_t i = 0; i < listeners->count && len < size; i++)
        len += (size_t)snprintf(text + len, size - len, "%s%s", i > 0 ? ", " : "",
                                listeners->address[i].text);
}

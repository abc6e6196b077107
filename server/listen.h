/* server/listen.h: the FastAGI sockets: opened by the master before it forks, shared by
 * all workers, so a worker can die or be replaced without a caller in the accept queue
 * noticing. */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H
#include "common/conf.h"
#include "common/err.h"

struct listeners {
    size_t count;
    struct conf_listen address[CONF_LISTEN_MAX];
    int fd[CONF_LISTEN_MAX];
};

/* Open what conf asks for. An address that stands in `old` too keeps its socket, with all
 * that waits in its queue. While an address is in use by someone else, tries for up to
 * wait_ms: the children of a master that was killed may just be ending. An IPv6 address
 * on a machine without IPv6 is left out, with a warning, if another one is there. On
 * error nothing is left open that was not before, and it was logged with what to do:
 * ERR_IO. */
enum err listeners_open(const struct conf *conf, const struct listeners *old,
                        unsigned wait_ms, struct listeners *listeners);

/* The same for one address, which stands in a setting of that name. */
enum err listen_open(const struct conf_listen *at, unsigned backlog, unsigned wait_ms,
                     const char *setting, int *fd);

/* Close what is in `listeners` and not in `kept`, which may be NULL. */
void listeners_close(const struct listeners *listeners, const struct listeners *kept);

/* "127.0.0.1:4573, [::1]:4573" */
void listeners_text(const struct listeners *listeners, char *text, size_t size);

#endif

/* replica/sockets.h: this process's TCP sockets. nng keeps them to itself and sets no time limit on any, so they are
 * looked for in /proc/self/fd, and ended with shutdown(): nng finds their end as if the other side had closed. */
#ifndef REPLICA_SOCKETS_H
#define REPLICA_SOCKETS_H
#include <netinet/in.h>
#include <nng/nng.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    /* Nothing was acknowledged for so long: the connection is dead. The kernel would try for 15 minutes, and less
     * and less often: when the link is back, it takes up to two more until it notices. */
    SOCKETS_UNHEARD_MS = 5000,
    /* SYNs sent again without an answer: after 1 and 3 s. The kernel would go on with 7, 15, 31 and 63, and be as
     * late. */
    SOCKETS_DIALS = 2,
};

/* Of the other end. IPv4 as an IPv4-mapped IPv6 address. False: unknown, and *addr is IPv4's 0.0.0.0. */
bool sockets_remote(nng_pipe pipe, struct in6_addr *addr, uint16_t *port);

/* End a connection that somebody made to here. nng_pipe_close() of a pipe that is just receiving leaves nng 1.5.2's
 * one reaper thread waiting for ever, at times (tcptran_pipe_recv_cb() goes on to read a message's body with an
 * aio that is closed, and nobody hears of it), and then no closed connection gives its descriptor back any more. */
void sockets_end(nng_pipe pipe);

/* End the connections that wait for an answer that is overdue, and attempts to connect likewise: nng dials anew. */
void sockets_end_stuck(void);

#endif

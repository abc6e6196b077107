/* replica/network.h: the sockets under replica/peers.h: one that all other nodes send to, and one to each of them.
 * Only the state process's loop calls this; nng's threads do no more than note pipes that come and go.
 *
 * The listening socket takes from anybody, so what comes there costs a stranger more than this node: a
 * message is opened, which takes microseconds, and no more is done with what no peer has sealed. Whoever
 * sends nothing else for NETWORK_PROVE_MS, or more than NETWORK_BAD_MAX of it in a second, is cut off, and
 * there are bounds on connections, in all and from one address.
 * PUSH and PULL, not PAIR1: nng 1.5.2's polyamorous PAIR1 panicked when connections ended while their
 * messages waited, which any stranger could bring about.
 * To a peer everything goes over the connection that this node dials. What its queue does not take is lost:
 * peers.c sends again what is not acknowledged. */
#ifndef REPLICA_NETWORK_H
#define REPLICA_NETWORK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/conf.h"
#include "common/err.h"
#include "replica/peers.h"

enum {
    NETWORK_PIPES_MAX = 256,    /* connections taken, in all */
    NETWORK_PIPES_ADDRESS = 32, /* and from one address */
    NETWORK_PROVE_MS =
        10000, /* for a connection's first message that a peer has sealed */
    NETWORK_SILENT_MS =
        30000, /* between two: the other end is gone, for it sends something every second */
    NETWORK_BAD_MAX =
        20, /* messages in a second that no peer has sealed, from one address */
    NETWORK_TURN_MS =
        5, /* of messages taken in one turn, so that callers are not kept waiting */
    /* Messages that wait for a peer's connection, at most: room for the windows of peers.c. Their bytes are bounded by
     * those, too: PACE_MAX each for own blocks, for others', and for a checkpoint. */
    NETWORK_SEND_BUFFER = 256,
    NETWORK_REDIAL_MIN_MS = 100,
    NETWORK_REDIAL_MAX_MS = 500,
};

struct network_config {
    uv_loop_t *loop;
    struct node *node;
    const struct key_pair *key; /* of this node; copied */
    const char *listen;         /* "host:port" */
    uint64_t join_wait_ms;
    void (*readable)(void *arg); /* in the loop: call network_take(), and so on */
    void *arg;
};

struct network;

/* Listen. Errors: ERR_REFUSED  the address cannot be listened on: logged
 *                 ERR_IO, ERR_MEMORY: logged */
enum err network_open(const struct network_config *config, uint64_t now_ms,
                      struct network **network);
/* There is no closing: it lives as long as the process. nng_close() of a socket that is just receiving may
 * never come back. */

/* The peers from now on. This node's own entry is left out; who stays, with the same address, stays connected.
 * Errors: as peers_set(), logged. */
enum err network_set(struct network *n, const struct conf_peer *list, size_t count);

/* Take messages that have come, for NETWORK_TURN_MS at most; then commit, and call network_turn().
 * Errors: as node_commit(). */
enum err network_take(struct network *n);
/* After each commit, and at *next_ms: send what is due, and cut off whom is to be cut off. */
void network_turn(struct network *n, uint64_t now_ms, uint64_t *next_ms);
/* Whether messages stay where they are meanwhile. */
void network_pause(struct network *n, bool paused);

/* For people. */
struct network_peer {
    struct peer_figures figures;
    const char *address; /* good until the next network_set() */
    bool reached;        /* there is a connection to that address */
};
struct network_figures {
    uint64_t strangers; /* messages that no peer has sealed for this node */
    uint64_t cut_off;   /* connections that were closed for it */
    bool copied;        /* as peers_copied() */
};
size_t network_count(const struct network *n);
void network_peer(const struct network *n, size_t index, struct network_peer *peer);
void network_figures(const struct network *n, struct network_figures *figures);

#endif

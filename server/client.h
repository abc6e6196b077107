/* server/client.h: a worker's end of the IPC to the state process: nng PAIR1 around
 * asks.c. The connection comes back by itself; meanwhile questions wait. nng has threads
 * of its own, all of which exist once client_new() has returned; its functions here are
 * called by the worker's one thread only. */
#ifndef SERVER_CLIENT_H
#define SERVER_CLIENT_H
#include "common/conf.h"
#include "server/asks.h"

struct client;

/* The state directory is the working directory. *to must outlive it. The client lives as
 * long as the process: nng_close() of nng 1.5.2 does not return when a connection is made
 * at that moment, and a worker that is to end must end.
 * Errors: ERR_IO, ERR_MEMORY: logged */
enum err client_new(unsigned answer_ms, const struct asks_owner *to,
                    struct client **client);

/* Descriptors to watch for reading; client_receive() when any is. */
enum { CLIENT_FDS = 2 };
void client_fds(const struct client *client, int fds[CLIENT_FDS]);

/* Questions: what asks_count(), asks_get() and asks_forget() say. */
struct asks *client_asks(struct client *client);

/* Take what arrived: answers are given from within. ERR_VERSION: the state process is
 * another version's, which no waiting cures. */
enum err client_receive(struct client *client, uint64_t now_ms);

/* Give up what is too old, and send what has gathered if nothing is under way: once per
 * turn of the worker's loop, after its calls have asked. calls: how many the worker has.
 * */
void client_send(struct client *client, size_t calls, uint64_t now_ms);

/* When client_send() has something to do though nothing arrives; UINT64_MAX for never. */
uint64_t client_due_ms(const struct client *client);

/* Whether the state process has ever answered: counts are served from then on. */
bool client_served(const struct client *client);

#endif

/* server/client.h: a worker's end of the IPC to the state process: a UNIX socket around asks.c, in the worker's own
 * epoll loop. The connection comes back by itself; meanwhile questions wait. Nothing here blocks. */
#ifndef SERVER_CLIENT_H
#define SERVER_CLIENT_H
#include "common/conf.h"
#include "server/asks.h"

struct client;

/* The state directory is the working directory. *to must outlive it. epoll: of the worker's loop; client_receive() when
 * it says `event`, which is what epoll_ctl() takes as data.ptr. Nothing is connected before the first client_send().
 * Errors: ERR_MEMORY */
enum err client_new(unsigned answer_ms, const struct asks_owner *to, int epoll,
                    void *event, struct client **client);
/* No owner is told. NULL is fine. */
void client_free(struct client *client);

/* Questions: what asks_count(), asks_get() and asks_forget() say. */
struct asks *client_asks(struct client *client);

/* Take what arrived: answers are given from within. ERR_VERSION: the state process is
 * another version's, which no waiting cures. */
enum err client_receive(struct client *client, uint64_t now_ms);

/* Give up what is too old, connect where there is no connection, and send what has gathered if nothing is under
 * way: once per turn of the worker's loop, after its calls have asked. calls: how many the worker has. */
void client_send(struct client *client, size_t calls, uint64_t now_ms);

/* When client_send() has something to do though nothing arrives; UINT64_MAX for never. */
uint64_t client_due_ms(const struct client *client);

/* Whether the state process has ever answered: counts are served from then on. */
bool client_served(const struct client *client);

#endif

/* replica/doors.h: the state process's end of the IPC: a socket at which it listens, and the connections that were made
 * to it, with messages as in common/frames.h. Never blocks and has no thread: whoever does not read what it is sent
 * is cut off, not waited for. */
#ifndef REPLICA_DOORS_H
#define REPLICA_DOORS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct door;

struct door_config {
    const char *path;  /* kept */
    const char *guest; /* who comes, for the log: "a worker" */
    size_t
        receive_max; /* the longest message, in bytes; a longer one ends its connection */
    size_t
        send_max; /* what of its answers a guest may leave unread beyond what the kernel
                           holds, in bytes */
    unsigned
        guests; /* at a time; for one more, the one that has been silent longest has to go */
};

/* Nobody can come in before it is open. Errors: ERR_IO, ERR_MEMORY: logged. */
enum err door_open(const struct door_config *config, struct door **door);
/* All connections end; the socket's file stays, and tells whoever connects that nobody is there. NULL is fine. */
void door_close(struct door *door);

/* Readable, for as long as door_take() has something to do: an epoll descriptor, the door's. While nobody looks
 * at it messages stay where they are, and those who send them wait. */
int door_fd(const struct door *door);

/* A message from a guest. The number stays that guest's for ever: answers may come when it has long gone. The bytes
 * are good until it returns. False: take no more now. */
typedef bool door_taken(void *arg, uint64_t guest, const uint8_t *message, size_t len);

/* Let in who has come, see off who has gone, send what guests had not read, and take up to `most` messages, one of
 * each guest in turn. */
void door_take(struct door *door, unsigned most, door_taken *taken, void *arg);

/* What a guest does not get because it has gone, or is cut off, it asks for again. */
void door_send(struct door *door, uint64_t guest, const void *message, size_t len);

/* How many are connected. */
unsigned door_guests(const struct door *door);

#endif

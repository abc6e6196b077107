/* common/dial.h: one end of the IPC for a program that has nothing else to do until it is answered: connects,
 * sends and receives within a limit of time. One thread at a time. Logs nothing. */
#ifndef COMMON_DIAL_H
#define COMMON_DIAL_H
#include "common/frames.h"

enum { DIAL_TRY_MS = 50 }; /* from one attempt to connect to the next */

struct dial {
    const char *path; /* the caller's */
    int fd;           /* -1: no connection */
    uint64_t tried_ms;
    struct frames_in in;
    struct frames_out out;
};

/* Nothing is connected yet. The longest messages, in bytes. Errors: ERR_MEMORY; dial_free() is right even then. */
enum err dial_init(struct dial *dial, const char *path, size_t send_max,
                   size_t receive_max);
void dial_free(struct dial *dial);

/* Each of these until end_ms. A connection that is lost, or was given up, is closed.
 * Errors: ERR_AGAIN      it took too long
 *         ERR_REFUSED    this process may not connect: errno
 *         ERR_NOT_FOUND  the other end has closed, or is no more: connect again
 *         ERR_TOO_LONG   the message is longer than the longest */

/* Where there is no connection, try until there is one. Errors: ERR_AGAIN, ERR_REFUSED; ERR_IO: errno. */
enum err dial_connect(struct dial *dial, uint64_t end_ms);
/* Errors: ERR_AGAIN, ERR_NOT_FOUND, ERR_TOO_LONG, ERR_MEMORY. */
enum err dial_send(struct dial *dial, const void *message, size_t len, uint64_t end_ms);
/* Good until the next call. Errors: ERR_NOT_FOUND, ERR_TOO_LONG; and ERR_AGAIN, where the connection stays. */
enum err dial_receive(struct dial *dial, const uint8_t **message, size_t *len,
                      uint64_t end_ms);
/* Whatever comes is not wanted any more. */
void dial_close(struct dial *dial);

#endif

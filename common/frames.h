/* common/frames.h: whole messages over a stream socket that does not block. A frame is a u32 length, little-endian, and
 * so many bytes. The buffers of a connection are made once, none is made for a message. Logs nothing. */
#ifndef COMMON_FRAMES_H
#define COMMON_FRAMES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum { FRAMES_HEAD = 4 }; /* bytes */

/* ---- what comes ---- */

struct frames_in {
    uint8_t *bytes; /* room for the longest frame */
    size_t size;
    size_t start, end; /* of what has come and was not taken yet */
};

/* max: the longest message, in bytes. Memory that nothing was read into is only reserved. Errors: ERR_MEMORY. */
enum err frames_in_init(struct frames_in *in, size_t max);
/* All zero is none, too. */
void frames_in_free(struct frames_in *in);
/* The next bytes are another connection's. */
void frames_in_clear(struct frames_in *in);

/* Read once. Messages that were handed out are no more; others move.
 * Errors: ERR_AGAIN      nothing has come, or there is no room before messages are taken
 *         ERR_NOT_FOUND  the other end has closed
 *         ERR_IO         the connection is broken: errno */
enum err frames_read(struct frames_in *in, int fd);

/* The same for bytes that somebody else reads: where to, *room bytes at most, and then how many they were. */
uint8_t *frames_room(struct frames_in *in, size_t *room);
void frames_came(struct frames_in *in, size_t len);

/* Take the next message: good until something is read again.
 * Errors: ERR_AGAIN     it is not there, or not as a whole
 *         ERR_TOO_LONG  it is to be *len bytes long, more than may be: nothing behind it can be found */
enum err frames_next(struct frames_in *in, const uint8_t **message, size_t *len);
/* Whether that would not say ERR_AGAIN. */
bool frames_ready(const struct frames_in *in);

/* ---- what goes ---- */

struct frames_out {
    uint8_t *bytes; /* NULL until the socket was full for the first time */
    size_t size;
    size_t start, end; /* of what the socket has not taken yet */
};

/* size: how many bytes to keep for a socket that is full. */
void frames_out_init(struct frames_out *out, size_t size);
void frames_out_free(struct frames_out *out);
/* What was kept is not for the next connection. */
void frames_out_clear(struct frames_out *out);

/* Send a message behind those that are kept, and keep what the socket does not take. Any error is the end of the
 * connection, for half a frame may have gone.
 * Errors: ERR_FULL    that would be more than `size` bytes: the other end does not read
 *         ERR_MEMORY
 *         ERR_IO      the connection is broken: errno */
enum err frames_send(struct frames_out *out, int fd, const void *message, size_t len);
/* Send what is kept. Errors: ERR_AGAIN: not all of it; ERR_IO, as above. */
enum err frames_flush(struct frames_out *out, int fd);
/* In bytes. */
size_t frames_kept(const struct frames_out *out);

#endif

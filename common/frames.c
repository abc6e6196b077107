#include "common/frames.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "common/byte.h"

/* ---- what comes ---- */

enum err frames_in_init(struct frames_in *in, size_t max)
{
    assert(max <= UINT32_MAX);
    *in =
        (struct frames_in){.bytes = malloc(FRAMES_HEAD + max), .size = FRAMES_HEAD + max};
    return in->bytes == NULL ? ERR_MEMORY : ERR_OK;
}

void frames_in_free(struct frames_in *in)
{
    free(in->bytes);
    *in = (struct frames_in){.bytes = NULL};
}

void frames_in_clear(struct frames_in *in)
{
    in->start = in->end = 0;
}

uint8_t *frames_room(struct frames_in *in, size_t *room)
{
    size_t left = in->end - in->start;

    if (in->start > 0) {
        memmove(in->bytes, in->bytes + in->start, left);
        in->start = 0;
        in->end = left;
    }
    *room = in->size - in->end;
    return in->bytes + in->end;
}

void frames_came(struct frames_in *in, size_t len)
{
    assert(len <= in->size - in->end);
    in->end += len;
}

enum err frames_read(struct frames_in *in, int fd)
{
    size_t room;
    uint8_t *to = frames_room(in, &room);
    ssize_t len;

    if (room == 0)
        return ERR_AGAIN;
    len = recv(fd, to, room, MSG_DONTWAIT);
    if (len < 0)
        return errno == EAGAIN || errno == EINTR ? ERR_AGAIN : ERR_IO;
    if (len == 0)
        return ERR_NOT_FOUND;
    frames_came(in, (size_t)len);
    return ERR_OK;
}

/* ERR_TOO_LONG as soon as the length is there: waiting for so many bytes would be of no use. */
static enum err look(const struct frames_in *in, size_t *len)
{
    size_t left = in->end - in->start;
    struct reader r = reader_of(in->bytes + in->start, left);

    if (left < FRAMES_HEAD)
        return ERR_AGAIN;
    *len = read_u32(&r);
    if (*len > in->size - FRAMES_HEAD)
        return ERR_TOO_LONG;
    return *len > left - FRAMES_HEAD ? ERR_AGAIN : ERR_OK;
}

enum err frames_next(struct frames_in *in, const uint8_t **message, size_t *len)
{
    enum err err = look(in, len);

    if (err != ERR_OK)
        return err;
    *message = in->bytes + in->start + FRAMES_HEAD;
    in->start += FRAMES_HEAD + *len;
    return ERR_OK;
}

bool frames_ready(const struct frames_in *in)
{
    size_t len;

    return look(in, &len) != ERR_AGAIN;
}

/* ---- what goes ---- */

void frames_out_init(struct frames_out *out, size_t size)
{
    *out = (struct frames_out){.size = size};
}

void frames_out_free(struct frames_out *out)
{
    free(out->bytes);
    frames_out_init(out, out->size);
}

void frames_out_clear(struct frames_out *out)
{
    out->start = out->end = 0;
}

size_t frames_kept(const struct frames_out *out)
{
    return out->end - out->start;
}

/* *sent: as many bytes as the socket has taken, maybe none. */
static enum err send_parts(int fd, struct iovec *parts, size_t count, size_t *sent)
{
    const struct msghdr msg = {.msg_iov = parts, .msg_iovlen = count};
    ssize_t len = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

    *sent = len > 0 ? (size_t)len : 0;
    return len >= 0 || errno == EAGAIN || errno == EINTR ? ERR_OK : ERR_IO;
}

static enum err keep(struct frames_out *out, const struct iovec *part, size_t skip)
{
    size_t kept = frames_kept(out), len = part->iov_len - skip;

    if (len > out->size - kept)
        return ERR_FULL;
    if (out->bytes == NULL && (out->bytes = malloc(out->size)) == NULL)
        return ERR_MEMORY;
    if (len > out->size - out->end) {
        memmove(out->bytes, out->bytes + out->start, kept);
        out->start = 0;
        out->end = kept;
    }
    memcpy(out->bytes + out->end, (const uint8_t *)part->iov_base + skip, len);
    out->end += len;
    return ERR_OK;
}

enum err frames_send(struct frames_out *out, int fd, const void *message, size_t len)
{
    uint8_t head[FRAMES_HEAD];
    struct writer w = writer_of(head, sizeof head);
    struct iovec parts[] = {{head, sizeof head}, {(void *)(uintptr_t)message, len}};
    size_t sent = 0;
    enum err err = ERR_OK;

    assert(len <= UINT32_MAX);
    write_u32(&w, (uint32_t)len);
    if (frames_kept(out) == 0)
        err = send_parts(fd, parts, 2, &sent);
    for (size_t i = 0; i < 2 && err == ERR_OK; i++) {
        size_t skip = sent < parts[i].iov_len ? sent : parts[i].iov_len;

        sent -= skip;
        if (skip < parts[i].iov_len)
            err = keep(out, &parts[i], skip);
    }
    return err;
}

enum err frames_flush(struct frames_out *out, int fd)
{
    while (frames_kept(out) > 0) {
        struct iovec part = {out->bytes + out->start, frames_kept(out)};
        size_t sent;
        enum err err = send_parts(fd, &part, 1, &sent);

        if (err != ERR_OK || sent == 0)
            return err != ERR_OK ? err : ERR_AGAIN;
        out->start += sent;
    }
    frames_out_clear(out);
    return ERR_OK;
}

#include "common/dial.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/ipc.h"

enum err dial_init(struct dial *dial, const char *path, size_t send_max,
                   size_t receive_max)
{
    *dial = (struct dial){.path = path, .fd = -1};
    frames_out_init(&dial->out, FRAMES_HEAD + send_max);
    return frames_in_init(&dial->in, receive_max);
}

void dial_free(struct dial *dial)
{
    dial_close(dial);
    frames_in_free(&dial->in);
    frames_out_free(&dial->out);
}

void dial_close(struct dial *dial)
{
    if (dial->fd >= 0)
        close(dial->fd);
    dial->fd = -1;
    frames_in_clear(&dial->in);
    frames_out_clear(&dial->out);
}

static enum err lost(struct dial *dial, enum err err)
{
    dial_close(dial);
    return err;
}

/* False: end_ms has come. A signal is a reason to look again. */
static bool wait_until(int fd, short events, uint64_t until_ms)
{
    struct pollfd wanted = {.fd = fd, .events = events};
    uint64_t now = clock_mono_ms(), left = until_ms > now ? until_ms - now : 0;

    if (left == 0)
        return false;
    (void)poll(&wanted, 1, left < INT_MAX ? (int)left : INT_MAX);
    return true;
}

/* That nobody is there may be so for a moment only. */
static bool may_come(int why)
{
    return why == ENOENT || why == ECONNREFUSED || why == EAGAIN || why == EINTR;
}

/* False: it would last longer. */
static bool pause_until(uint64_t until_ms, uint64_t end_ms)
{
    while (clock_mono_ms() < until_ms &&
           wait_until(-1, 0, end_ms < until_ms ? end_ms : until_ms))
        ;
    return clock_mono_ms() < end_ms;
}

/* The pause stands before every attempt but the first, so that somebody who takes connections only to close them
 * keeps nobody busy. */
enum err dial_connect(struct dial *dial, uint64_t end_ms)
{
    while (dial->fd < 0) {
        if (!pause_until(dial->tried_ms != 0 ? dial->tried_ms + DIAL_TRY_MS : 0, end_ms))
            return ERR_AGAIN;
        dial->tried_ms = clock_mono_ms();
        dial->fd = ipc_connect(dial->path);
        if (dial->fd < 0 && !may_come(errno))
            return errno == EACCES || errno == EPERM ? ERR_REFUSED : ERR_IO;
    }
    return ERR_OK;
}

enum err dial_send(struct dial *dial, const void *message, size_t len, uint64_t end_ms)
{
    enum err err;

    if (dial->fd < 0)
        return ERR_NOT_FOUND;
    if (FRAMES_HEAD + len > dial->out.size)
        return ERR_TOO_LONG;
    err = frames_send(&dial->out, dial->fd, message, len);
    while (err == ERR_OK && (err = frames_flush(&dial->out, dial->fd)) == ERR_AGAIN)
        if (wait_until(dial->fd, POLLOUT, end_ms))
            err = ERR_OK;
    if (err == ERR_OK)
        return ERR_OK;
    return lost(dial, err == ERR_IO ? ERR_NOT_FOUND : err);
}

enum err dial_receive(struct dial *dial, const uint8_t **message, size_t *len,
                      uint64_t end_ms)
{
    enum err err;

    if (dial->fd < 0)
        return ERR_NOT_FOUND;
    while ((err = frames_next(&dial->in, message, len)) == ERR_AGAIN) {
        err = frames_read(&dial->in, dial->fd);
        if (err == ERR_AGAIN && !wait_until(dial->fd, POLLIN, end_ms))
            return ERR_AGAIN;
        if (err != ERR_OK && err != ERR_AGAIN)
            return lost(dial, ERR_NOT_FOUND);
    }
    return err == ERR_OK ? ERR_OK : lost(dial, err);
}

#include "server/doors.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/ipc.h"
#include "common/log.h"
#include "common/msg.h"

/* What nng speaks over UNIX sockets: each side begins with 0 "SP" 0, its protocol's number and two zeros; then 1, the length in
 * eight bytes, and so many bytes, the protocol's header first. (Its protocols: sp-protocol-ids in nng's documentation;
 * seen here by strace.) */
enum { GREETING = 8, FRAME = 1 + 8, HEADER = 4, KNOCK_MAX = 128 };

static const struct {
    const char *path;
    uint8_t protocol;
    uint8_t header[HEADER];
} kinds[DOORS] = {
    {IPC_WORKERS_PATH, 0x11, {0, 0, 0, 1}},    /* PAIR1; one hop */
    {IPC_CONTROL_PATH, 0x30, {0x80, 0, 0, 1}}, /* REQ; the request's id */
};

static size_t put_body(size_t which, uint8_t *to, size_t size)
{
    struct writer w = writer_of(to, size);

    if (which == 1)
        return (size_t)snprintf((char *)to, size, "{\"do\":\"get\",\"name\":\"-\"}");
    msg_begin(&w, MSG_HELLO);
    msg_put_hello(&w);
    msg_end(&w, 1);
    return w.len;
}

static size_t put_knock(size_t which, uint8_t *to)
{
    size_t head = GREETING + FRAME + HEADER,
           body = put_body(which, to + head, KNOCK_MAX - head);

    memset(to, 0, head);
    memcpy(to + 1, "SP", 2);
    to[5] = kinds[which].protocol;
    to[GREETING] = 1;
    to[GREETING + FRAME - 1] = (uint8_t)(HEADER + body);
    memcpy(to + GREETING + FRAME, kinds[which].header, HEADER);
    return head + body;
}

static void leave(struct door *door)
{
    if (door->fd >= 0)
        close(door->fd);
    door->fd = -1;
}

/* Nobody there, as while the process starts, is for whoever looks after processes. */
static void knock(struct door *door, size_t which, uint64_t now_ms)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    uint8_t bytes[KNOCK_MAX];
    size_t len = put_knock(which, bytes);

    strcpy(at.sun_path, kinds[which].path);
    door->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    door->since_ms = now_ms;
    if (door->fd < 0) {
        err_errno("make", "a socket");
        return;
    }
    if (connect(door->fd, (struct sockaddr *)&at, sizeof at) != 0 ||
        send(door->fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
        leave(door);
}

/* Whoever closes without an answer is not shut: it takes connections. */
static bool answered(const struct door *door)
{
    uint8_t bytes[GREETING + FRAME];
    ssize_t len = recv(door->fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);

    return len == 0 || len == (ssize_t)sizeof bytes || (len < 0 && errno != EAGAIN);
}

void doors_init(struct doors *doors)
{
    for (size_t i = 0; i < DOORS; i++)
        doors->door[i].fd = -1;
}

uint64_t doors_knock(struct doors *doors, uint64_t now_ms)
{
    uint64_t longest = 0;

    for (size_t i = 0; i < DOORS; i++) {
        struct door *door = &doors->door[i];

        if (door->fd >= 0 && answered(door))
            leave(door);
        if (door->fd < 0)
            knock(door, i, now_ms);
        else if (now_ms - door->since_ms > longest)
            longest = now_ms - door->since_ms;
    }
    return longest;
}

void doors_leave(struct doors *doors)
{
    for (size_t i = 0; i < DOORS; i++)
        leave(&doors->door[i]);
}

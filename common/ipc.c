#include "common/ipc.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool address_of(const char *path, struct sockaddr_un *addr)
{
    size_t len = strlen(path);

    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (len >= sizeof addr->sun_path) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(addr->sun_path, path, len);
    return true;
}

static int new_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int failed(int fd)
{
    int why = errno;

    close(fd);
    errno = why;
    return -1;
}

int ipc_listen(const char *path)
{
    struct sockaddr_un addr;
    int fd;

    if (!address_of(path, &addr) || (unlink(path) != 0 && errno != ENOENT))
        return -1;
    fd = new_socket();
    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&addr, sizeof addr) != 0 ||
        listen(fd, SOMAXCONN) != 0)
        return failed(fd);
    return fd;
}

int ipc_connect(const char *path)
{
    struct sockaddr_un addr;
    int fd;

    if (!address_of(path, &addr))
        return -1;
    fd = new_socket();
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0)
        return failed(fd);
    return fd;
}

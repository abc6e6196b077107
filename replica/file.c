#include "replica/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static enum err sync_folder(void)
{
    int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum err err = ERR_OK;

    if (fd < 0 || fsync(fd) != 0)
        err = err_errno("sync", "the state directory");
    if (fd >= 0)
        close(fd);
    return err;
}

enum err file_make(const char *name, const void *bytes, size_t len)
{
    char new[64];
    enum err err = ERR_OK;
    int fd;

    snprintf(new, sizeof new, "%s.new", name);
    fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno("make", new);
    if (write(fd, bytes, len) != (ssize_t)len)
        err = err_errno("write", new);
    else if (fsync(fd) != 0)
        err = err_errno("sync", new);
    close(fd);
    if (err == ERR_OK && rename(new, name) != 0)
        err = err_errno("rename", new);
    if (err != ERR_OK) {
        unlink(new);
        return err;
    }
    return sync_folder();
}

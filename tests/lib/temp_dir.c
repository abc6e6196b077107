#include "tests/lib/temp_dir.h"

#include <assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void temp_dir_enter(char path[TEMP_DIR_MAX])
{
    bool made;

    strcpy(path, "/tmp/tally-test.XXXXXX");
    made = mkdtemp(path) != NULL && chdir(path) == 0;
    assert(made);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

void temp_dir_remove(const char *path)
{
    nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void temp_file_write(const char *name, const void *bytes, size_t len, mode_t mode)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, mode);
    bool written = fd >= 0 && write(fd, bytes, len) == (ssize_t)len &&
                   fchmod(fd, mode) == 0 && close(fd) == 0;

    assert(written);
}

ssize_t temp_file_read(const char *name, void *bytes, size_t max)
{
    int fd = open(name, O_RDONLY);
    ssize_t len = fd < 0 ? -1 : read(fd, bytes, max);

    if (fd >= 0)
        close(fd);
    return len;
}

bool temp_file_exists(const char *name)
{
    struct stat st;

    return lstat(name, &st) == 0;
}

/* tests/faults/faulty.c: a library to be loaded ahead of libc (LD_PRELOAD), whose file functions fail when a
 * test says so: a disk that breaks under the real processes.
 *
 * FAULTY names a file of four bytes per function below, in that order: how many of the next calls, in any
 * process, fail, as int32 of this machine; behind them one int32 more, the errno. The file is
 * mapped when the library is loaded, before any sandbox is entered. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

enum function { FDATASYNC, FSYNC, PWRITE, PREAD, FUNCTIONS };

struct orders {
    atomic_int failures[FUNCTIONS];
    atomic_int error;
};

static struct orders *orders;

__attribute__((constructor)) static void faulty_load(void)
{
    const char *path = getenv("FAULTY");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    void *map;

    if (fd < 0)
        return;
    map = mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        orders = map;
}

/* Whether this call is one of those that are to fail; errno is set then. */
static int fails(enum function function)
{
    int left = orders == NULL ? 0 : atomic_load(&orders->failures[function]);

    while (left > 0) {
        if (atomic_compare_exchange_weak(&orders->failures[function], &left, left - 1)) {
            errno = atomic_load(&orders->error);
            return 1;
        }
    }
    return 0;
}

/* The function of this name that libc has. */
#define LIBC(type, name) ((type)(uintptr_t)dlsym(RTLD_NEXT, name))

typedef int sync_fn(int fd);
typedef ssize_t pwrite_fn(int fd, const void *from, size_t len, off_t offset);
typedef ssize_t pread_fn(int fd, void *to, size_t len, off_t offset);

int fdatasync(int fd)
{
    return fails(FDATASYNC) ? -1 : LIBC(sync_fn *, "fdatasync")(fd);
}

int fsync(int fd)
{
    return fails(FSYNC) ? -1 : LIBC(sync_fn *, "fsync")(fd);
}

ssize_t pwrite(int fd, const void *from, size_t len, off_t offset)
{
    return fails(PWRITE) ? -1 : LIBC(pwrite_fn *, "pwrite")(fd, from, len, offset);
}

ssize_t pread(int fd, void *to, size_t len, off_t offset)
{
    return fails(PREAD) ? -1 : LIBC(pread_fn *, "pread")(fd, to, len, offset);
}

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/clock.h"
#include "replica/ctl_doctor.h"
#include "replica/key.h"

enum {
    SYNCS = 100,
    SYNC_BYTES = 4096,
    SYNC_SLOW_US = 10000, /* each count waits for one */
    SYNC_FAST_US = 20,    /* no disk is as fast, nor a cache behind a cable */
};
#define MIB (UINT64_C(1) << 20)

void doctor_directory(struct doctor *d)
{
    struct stat st;

    if (stat(".", &st) != 0) {
        doctor_say(d, "directory", "see why", "cannot be looked at: %s", strerror(errno));
        return;
    }
    if ((st.st_mode & 022) != 0)
        doctor_say(d, "directory", "chmod 700 the state directory",
                   "others may write into it: mode %03o", st.st_mode & 0777);
    else
        doctor_say(d, "directory", NULL, "mode %03o, user id %u", st.st_mode & 0777,
                   (unsigned)st.st_uid);
}

void doctor_key(struct doctor *d)
{
    struct stat key, folder;

    if (lstat(KEY_FILE, &key) != 0) {
        if (errno == ENOENT && access("log", F_OK) != 0)
            return; /* not made yet */
        doctor_say(d, "key", "put node.key back from a backup: tallyctl fsck tells more",
                   "cannot be read: %s", strerror(errno));
    } else if ((key.st_mode & 077) != 0 || !S_ISREG(key.st_mode)) {
        doctor_say(d, "key",
                   "chmod 600 node.key; whoever could read it can sign as this "
                   "node",
                   "others may read it: mode %03o", key.st_mode & 0777);
    } else if (stat(".", &folder) == 0 && folder.st_uid != key.st_uid) {
        doctor_say(d, "key", "chown it to the state directory's user",
                   "it belongs to user id %u, the directory to %u", (unsigned)key.st_uid,
                   (unsigned)folder.st_uid);
    } else {
        doctor_say(d, "key", NULL, "mode %03o, its user's own", key.st_mode & 0777);
    }
}

void doctor_room(struct doctor *d)
{
    char free_text[CTL_SIZE_SIZE], size_text[CTL_SIZE_SIZE];
    struct statvfs fs;
    uint64_t room, all;

    if (statvfs(".", &fs) != 0)
        return;
    room = (uint64_t)fs.f_bavail * fs.f_frsize;
    all = (uint64_t)fs.f_blocks * fs.f_frsize;
    ctl_format_size(room, free_text);
    ctl_format_size(all, size_text);
    doctor_say(d, "room",
               room < 256 * MIB ? "make room: a full disk refuses new counts" : NULL,
               "%s of %s are free", free_text, size_text);
    if (fs.f_files > 0 && fs.f_favail < 100)
        doctor_say(d, "room", "remove files on this file system",
                   "%" PRIu64 " inodes are free", (uint64_t)fs.f_favail);
}

/* ---- how long a sync takes ---- */

/* A file without a name: whatever happens, nothing of it stays. */
static int scratch(void)
{
    static const char zeros[SYNCS * SYNC_BYTES];
    int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0)
        return -1;
    if (pwrite(fd, zeros, sizeof zeros, 0) == (ssize_t)sizeof zeros && fsync(fd) == 0)
        return fd;
    close(fd);
    return -1;
}

static int by_size(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static bool measure(int fd, uint64_t us[SYNCS])
{
    char block[SYNC_BYTES];

    memset(block, 0x5a, sizeof block);
    for (int i = 0; i < SYNCS; i++) {
        uint64_t begun = clock_mono_us();

        if (pwrite(fd, block, sizeof block, (off_t)i * SYNC_BYTES) != SYNC_BYTES ||
            fdatasync(fd) != 0)
            return false;
        us[i] = clock_mono_us() - begun;
    }
    qsort(us, SYNCS, sizeof us[0], by_size);
    return true;
}

static const char *sync_remedy(uint64_t median_us)
{
    struct statfs fs;

    if (statfs(".", &fs) == 0 && fs.f_type == TMPFS_MAGIC)
        return "this is memory: all counts are gone when the machine is; put the state "
               "directory on a disk";
    if (median_us > SYNC_SLOW_US)
        return "each count waits for one: an SSD, or a controller with a protected cache";
    if (median_us < SYNC_FAST_US)
        return "no disk is that fast: see that it, or the virtual machine's host, really "
               "writes when it is told to";
    return NULL;
}

void doctor_sync(struct doctor *d)
{
    uint64_t us[SYNCS];
    int fd = scratch();

    if (fd < 0) {
        doctor_say(d, "disk sync",
                   "run this as root or as the node's user; see to the disk",
                   "cannot be measured: %s", strerror(errno));
        return;
    }
    if (measure(fd, us))
        doctor_say(d, "disk sync", sync_remedy(us[SYNCS / 2]),
                   "%.2f ms mostly, %.2f ms at worst, of %d: some %" PRIu64
                   " commits a second",
                   (double)us[SYNCS / 2] / 1000, (double)us[SYNCS - 1] / 1000, SYNCS,
                   1000000 / (us[SYNCS / 2] + 1));
    else
        doctor_say(d, "disk sync", "see to the disk", "failed: %s", strerror(errno));
    close(fd);
}

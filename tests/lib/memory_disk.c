#include "tests/lib/memory_disk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096 };

struct disk_file {
    struct memory_disk *disk; /* NULL: it was removed, and lives until it is closed */
    unsigned opened;
    char name[DISK_NAME_MAX + 1];
    size_t size;
    uint8_t *now;     /* what a read gives */
    uint8_t *durable; /* what a crash leaves */
    bool *dirty;      /* per page: to be written at the next sync */
    uint64_t misread_at;
    unsigned misread; /* reads of that byte still to come; 1: the next */
};

struct memory_disk {
    struct disk disk; /* first */
    struct disk_file **files;
    size_t count;
    uint64_t room;
    unsigned fail_read, fail_sync, fail_write, fail_make; /* still to come; 1: the next */
    unsigned syncs, archived;
    uint64_t read;
    bool hold_make, refuse_archive;
    bool making;
    struct disk_make make;
    enum err made;
};

static const struct disk_ops memory_ops;

static struct memory_disk *memory(const struct disk *disk)
{
    return (struct memory_disk *)(uintptr_t)disk;
}

static void *allocate(size_t count, size_t size)
{
    void *bytes = calloc(count > 0 ? count : 1, size);

    assert(bytes != NULL);
    return bytes;
}

static size_t pages(size_t size)
{
    return (size + PAGE - 1) / PAGE;
}

static bool fails(unsigned *countdown)
{
    return *countdown > 0 && --*countdown == 0;
}

/* ---- files ---- */

static struct disk_file *find(const struct memory_disk *d, const char *name)
{
    for (size_t i = 0; i < d->count; i++)
        if (strcmp(d->files[i]->name, name) == 0)
            return d->files[i];
    return NULL;
}

static void file_free(struct disk_file *file)
{
    free(file->now);
    free(file->durable);
    free(file->dirty);
    free(file);
}

static void drop(struct memory_disk *d, const char *name)
{
    for (size_t i = 0; i < d->count; i++) {
        if (strcmp(d->files[i]->name, name) != 0)
            continue;
        d->files[i]->disk = NULL;
        if (d->files[i]->opened == 0)
            file_free(d->files[i]);
        d->files[i] = d->files[--d->count];
        return;
    }
}

static struct disk_file *make_file(const char *name, size_t size)
{
    struct disk_file *file = allocate(1, sizeof *file);

    assert(strlen(name) <= DISK_NAME_MAX);
    strcpy(file->name, name);
    file->size = size;
    file->now = allocate(size, 1);
    file->durable = allocate(size, 1);
    file->dirty = allocate(pages(size), sizeof *file->dirty);
    return file;
}

/* A file of the same size that is there is written over: open ones go on with the new
 * bytes. */
static void add(struct memory_disk *d, const char *name, const void *bytes, size_t len,
                size_t size)
{
    struct disk_file *file = find(d, name);

    assert(len <= size);
    if (file == NULL || file->size != size) {
        drop(d, name);
        file = make_file(name, size);
        file->disk = d;
        d->files = realloc(d->files, (d->count + 1) * sizeof(struct disk_file *));
        assert(d->files != NULL);
        d->files[d->count++] = file;
    }
    if (len > 0)
        memcpy(file->now, bytes, len);
    memset(file->now + len, 0, size - len);
    memcpy(file->durable, file->now, size);
    memset(file->dirty, 0, pages(size) * sizeof *file->dirty);
}

static uint64_t used(const struct memory_disk *d)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < d->count; i++)
        bytes += d->files[i]->size;
    return bytes;
}

/* ---- what replica/disk.h asks for ---- */

static enum err memory_open(struct disk *disk, const char *name, struct disk_file **file)
{
    *file = find(memory(disk), name);
    if (*file == NULL)
        return ERR_NOT_FOUND;
    (*file)->opened++;
    return ERR_OK;
}

static void memory_close(struct disk_file *file)
{
    if (--file->opened == 0 && file->disk == NULL)
        file_free(file);
}

static enum err memory_size(struct disk_file *file, uint64_t *size)
{
    *size = file->size;
    return ERR_OK;
}

static enum err memory_read(struct disk_file *file, uint64_t offset, void *to, size_t len,
                            size_t *got)
{
    size_t left = offset < file->size ? file->size - (size_t)offset : 0;

    if (fails(&file->disk->fail_read))
        return ERR_IO;
    *got = len < left ? len : left;
    file->disk->read += *got;
    if (*got > 0)
        memcpy(to, file->now + offset, *got);
    if (file->misread_at >= offset && file->misread_at < offset + *got &&
        fails(&file->misread))
        ((uint8_t *)to)[file->misread_at - offset] ^= 0x10;
    return ERR_OK;
}

static enum err memory_write(struct disk_file *file, uint64_t offset, const void *from,
                             size_t len)
{
    assert(offset <= file->size && len <= file->size - offset);
    if (fails(&file->disk->fail_write))
        return ERR_IO;
    if (len == 0)
        return ERR_OK;
    memcpy(file->now + offset, from, len);
    for (size_t page = (size_t)offset / PAGE; page <= ((size_t)offset + len - 1) / PAGE;
         page++)
        file->dirty[page] = true;
    return ERR_OK;
}

static enum err memory_sync(struct disk_file *file)
{
    bool failed = fails(&file->disk->fail_sync), any = false;

    for (size_t page = 0; page < pages(file->size); page++) {
        size_t at = page * PAGE, len = file->size - at < PAGE ? file->size - at : PAGE;

        if (!file->dirty[page])
            continue;
        any = true;
        file->dirty[page] = false;
        if (!failed)
            memcpy(file->durable + at, file->now + at, len);
    }
    file->disk->syncs += any;
    return failed ? ERR_IO : ERR_OK;
}

static enum err memory_list(struct disk *disk, void (*each)(void *arg, const char *name),
                            void *arg)
{
    const struct memory_disk *d = memory(disk);

    /* The last one first: nobody shall get used to the order in which files are made. */
    for (size_t i = d->count; i > 0; i--)
        each(arg, d->files[i - 1]->name);
    return ERR_OK;
}

static enum err memory_remove(struct disk *disk, const char *name, bool archive)
{
    struct memory_disk *d = memory(disk);

    if (archive && d->refuse_archive)
        return ERR_REFUSED;
    if (find(d, name) == NULL)
        return ERR_NOT_FOUND;
    d->archived += archive;
    drop(d, name);
    return ERR_OK;
}

static enum err memory_make(struct disk *disk, const struct disk_make *make)
{
    struct memory_disk *d = memory(disk);

    assert(!d->making);
    d->making = true;
    d->make = *make;
    if (make->complete != NULL)
        make->complete(make->arg);
    return ERR_OK;
}

static enum err memory_made(struct disk *disk)
{
    struct memory_disk *d = memory(disk);

    if (!d->making)
        return d->made;
    if (d->hold_make)
        return ERR_AGAIN;
    d->making = false;
    d->made = ERR_OK;
    if (fails(&d->fail_make))
        d->made = ERR_IO;
    else if (d->make.size > d->room || used(d) > d->room - d->make.size)
        d->made = ERR_FULL;
    else
        add(d, d->make.name, d->make.bytes, d->make.len, (size_t)d->make.size);
    return d->made;
}

static const struct disk_ops memory_ops = {
    .open = memory_open,
    .close = memory_close,
    .size = memory_size,
    .read = memory_read,
    .write = memory_write,
    .sync = memory_sync,
    .list = memory_list,
    .remove = memory_remove,
    .make = memory_make,
    .made = memory_made,
};

struct disk *memory_disk_new(void)
{
    struct memory_disk *d = allocate(1, sizeof *d);

    d->disk.ops = &memory_ops;
    d->room = UINT64_MAX;
    return &d->disk;
}

void memory_disk_free(struct disk *disk)
{
    struct memory_disk *d = memory(disk);

    for (size_t i = 0; i < d->count; i++)
        file_free(d->files[i]);
    free(d->files);
    free(d);
}

struct disk *memory_disk_copy(const struct disk *disk)
{
    const struct memory_disk *d = memory(disk);
    struct disk *copy = memory_disk_new();

    for (size_t i = 0; i < d->count; i++)
        memory_disk_put(copy, d->files[i]->name, d->files[i]->now, d->files[i]->size);
    return copy;
}

/* ---- faults ---- */

void memory_disk_crash(struct disk *disk)
{
    struct memory_disk *d = memory(disk);

    d->making = false;
    for (size_t i = 0; i < d->count; i++) {
        struct disk_file *file = d->files[i];

        memcpy(file->now, file->durable, file->size);
        memset(file->dirty, 0, pages(file->size) * sizeof *file->dirty);
    }
}

void memory_disk_set_room(struct disk *disk, uint64_t bytes)
{
    memory(disk)->room = bytes;
}

void memory_disk_fail_read(struct disk *disk, unsigned nth)
{
    memory(disk)->fail_read = nth;
}

void memory_disk_fail_sync(struct disk *disk, unsigned nth)
{
    memory(disk)->fail_sync = nth;
}

void memory_disk_fail_write(struct disk *disk, unsigned nth)
{
    memory(disk)->fail_write = nth;
}

void memory_disk_fail_make(struct disk *disk, unsigned nth)
{
    memory(disk)->fail_make = nth;
}

void memory_disk_misread(struct disk *disk, const char *name, uint64_t offset,
                         unsigned nth)
{
    struct disk_file *file = find(memory(disk), name);

    assert(file != NULL);
    file->misread_at = offset;
    file->misread = nth;
}

void memory_disk_hold_make(struct disk *disk, bool hold)
{
    memory(disk)->hold_make = hold;
}

void memory_disk_refuse_archive(struct disk *disk, bool refuse)
{
    memory(disk)->refuse_archive = refuse;
}

/* ---- looking, and playing fate ---- */

size_t memory_disk_count(const struct disk *disk)
{
    return memory(disk)->count;
}

bool memory_disk_has(const struct disk *disk, const char *name)
{
    return find(memory(disk), name) != NULL;
}

const uint8_t *memory_disk_bytes(const struct disk *disk, const char *name, size_t *size)
{
    const struct disk_file *file = find(memory(disk), name);

    if (file == NULL)
        return NULL;
    *size = file->size;
    return file->now;
}

void memory_disk_poke(struct disk *disk, const char *name, uint64_t offset,
                      const void *bytes, size_t len)
{
    struct disk_file *file = find(memory(disk), name);

    assert(file != NULL && offset <= file->size && len <= file->size - offset);
    memcpy(file->now + offset, bytes, len);
    memcpy(file->durable + offset, bytes, len);
}

void memory_disk_flip(struct disk *disk, const char *name, uint64_t offset)
{
    struct disk_file *file = find(memory(disk), name);
    uint8_t byte;

    assert(file != NULL && offset < file->size);
    byte = (uint8_t)(file->now[offset] ^ 0x10);
    memory_disk_poke(disk, name, offset, &byte, 1);
}

void memory_disk_put(struct disk *disk, const char *name, const void *bytes, size_t len)
{
    add(memory(disk), name, bytes, len, len);
}

void memory_disk_delete(struct disk *disk, const char *name)
{
    drop(memory(disk), name);
}

unsigned memory_disk_syncs(const struct disk *disk)
{
    return memory(disk)->syncs;
}

unsigned memory_disk_archived(const struct disk *disk)
{
    return memory(disk)->archived;
}

uint64_t memory_disk_read(const struct disk *disk)
{
    return memory(disk)->read;
}

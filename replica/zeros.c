#include "replica/zeros.h"

#include <stddef.h>

static enum err check(struct disk *disk, struct disk_file *file, uint64_t from,
                      uint64_t to, uint64_t *offset)
{
    enum { PIECE = 4096 };
    uint8_t bytes[PIECE];
    size_t got = 1;

    while (from < to && got > 0) {
        size_t len = to - from < PIECE ? (size_t)(to - from) : PIECE;
        enum err err = disk->ops->read(file, from, bytes, len, &got);

        if (err != ERR_OK)
            return err;
        for (size_t i = 0; i < got; i++) {
            if (bytes[i] == 0)
                continue;
            *offset = from + i;
            return ERR_CORRUPT;
        }
        from += got;
    }
    return ERR_OK;
}

enum err zeros_check(struct disk *disk, const char *name, uint64_t from, uint64_t to,
                     uint64_t *offset)
{
    struct disk_file *file;
    enum err err = disk->ops->open(disk, name, &file);

    if (err != ERR_OK)
        return err;
    err = check(disk, file, from, to, offset);
    disk->ops->close(file);
    return err;
}

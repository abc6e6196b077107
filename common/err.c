#include "common/err.h"

#include <errno.h>
#include <string.h>

#include "common/log.h"

const char *err_name(enum err err)
{
    switch (err) {
    case ERR_OK:
        return "no error";
    case ERR_AGAIN:
        return "not complete";
    case ERR_TOO_LONG:
        return "too long";
    case ERR_MALFORMED:
        return "malformed";
    case ERR_RANGE:
        return "out of range";
    case ERR_NOT_FOUND:
        return "not found";
    case ERR_EXISTS:
        return "exists already";
    case ERR_CORRUPT:
        return "corrupt";
    case ERR_VERSION:
        return "of a newer version";
    case ERR_REFUSED:
        return "refused";
    case ERR_FULL:
        return "no space left";
    case ERR_IO:
        return "input/output error";
    case ERR_MEMORY:
        return "out of memory";
    }
    return "unknown error";
}

enum err err_errno(const char *what, const char *path)
{
    int number = errno;

    if (number == ENOSPC || number == EDQUOT)
        return ERR_FULL;
    log_error("cannot %s %s: %s", what, path, strerror(number));
    switch (number) {
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case ENOMEM:
        return ERR_MEMORY;
    default:
        return ERR_IO;
    }
}

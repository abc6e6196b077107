/* common/err.h: what can go wrong, as one small set of values that functions return. */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

/* A function that returns one of these says in its header which, and what the caller does. */
enum err {
    ERR_OK = 0,
    ERR_AGAIN,     /* not complete, or not now: call again later */
    ERR_TOO_LONG,  /* above a size limit that the function's header names */
    ERR_MALFORMED, /* bytes that do not follow their format */
    ERR_RANGE,     /* a number outside its bounds */
    ERR_NOT_FOUND,
    ERR_EXISTS,
    ERR_CORRUPT, /* bytes that were right once and are no more: a checksum or hash differs */
    ERR_VERSION, /* written by a newer version than this one */
    ERR_REFUSED, /* well understood, and not allowed */
    ERR_FULL,    /* no space left on the file system, or a quota is used up */
    ERR_IO,      /* a system call failed; already logged by err_errno() */
    ERR_MEMORY,
};

/* A short English name for messages: "malformed". Static, never NULL. */
const char *err_name(enum err err);

/* Log "cannot WHAT PATH: strerror(errno)" once, where errno is known, and turn errno into the
 * value to pass up: ENOSPC and EDQUOT become ERR_FULL, ENOENT ERR_NOT_FOUND, EEXIST ERR_EXISTS,
 * ENOMEM ERR_MEMORY, everything else ERR_IO. ERR_FULL is not logged: a full disk is a state that
 * lasts, and whoever retries says so once. */
enum err err_errno(const char *what, const char *path);

#endif

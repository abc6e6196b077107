/* common/name.h: counter names, and the other small texts that go into the log. */
#ifndef COMMON_NAME_H
#define COMMON_NAME_H
#include <stdbool.h>
#include <stddef.h>

enum {
    NAME_MAX_BYTES = 64, /* of a counter's name, at least 1: letters, digits and ._- */
    TAG_MAX_BYTES = 64,  /* of a tag: any bytes but control bytes; may be empty */
};

/* Neither string needs a NUL behind it. */
bool name_valid(const char *name, size_t len);
bool tag_valid(const char *tag, size_t len);

#endif

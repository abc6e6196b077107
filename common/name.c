#include "common/name.h"

/* Not isalnum(): what a name may hold must not depend on the locale. */
static bool name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '.' || c == '_' || c == '-';
}

bool name_valid(const char *name, size_t len)
{
    if (len == 0 || len > NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!name_byte(name[i]))
            return false;
    return true;
}

bool tag_valid(const char *tag, size_t len)
{
    if (len > TAG_MAX_BYTES)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)tag[i] < 0x20 || tag[i] == 0x7f)
            return false;
    return true;
}

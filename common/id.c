#include "common/id.h"

#include <sodium.h>
#include <string.h>

bool id_equal(const struct id *a, const struct id *b)
{
    return memcmp(a->byte, b->byte, sizeof a->byte) == 0;
}

bool id_is_zero(const struct id *id)
{
    return sodium_is_zero(id->byte, sizeof id->byte) != 0;
}

void id_format(const struct id *id, char out[ID_HEX + 1])
{
    sodium_bin2hex(out, ID_HEX + 1, id->byte, sizeof id->byte);
}

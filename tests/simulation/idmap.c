#include "tests/simulation/idmap.h"

#include <stdlib.h>
#include <string.h>

static struct idmap_slot *slot_of(const struct idmap *map, const struct id *id)
{
    uint64_t h;
    size_t at;

    memcpy(&h, id->byte, sizeof h);
    at = (size_t)(h * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (map->size - 1);
    while (map->slots[at].value != 0 && !id_equal(&map->slots[at].id, id))
        at = (at + 1) & (map->size - 1);
    return &map->slots[at];
}

static void grow(struct idmap *map)
{
    struct idmap old = *map;

    map->size = old.size == 0 ? 64 : 4 * old.size;
    map->slots = calloc(map->size, sizeof *map->slots);
    if (map->slots == NULL)
        abort();
    for (size_t i = 0; i < old.size; i++)
        if (old.slots[i].value != 0)
            *slot_of(map, &old.slots[i].id) = old.slots[i];
    free(old.slots);
}

int64_t idmap_get(const struct idmap *map, const struct id *id)
{
    return map->size == 0 ? -1 : (int64_t)slot_of(map, id)->value - 1;
}

void idmap_set(struct idmap *map, const struct id *id, uint64_t value)
{
    struct idmap_slot *slot;

    if (2 * (map->count + 1) > map->size)
        grow(map);
    slot = slot_of(map, id);
    map->count += slot->value == 0;
    *slot = (struct idmap_slot){.id = *id, .value = value + 1};
}

void idmap_clear(struct idmap *map)
{
    free(map->slots);
    *map = (struct idmap){0};
}

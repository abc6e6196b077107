#include "replica/component.h"

const struct component *const components[COMPONENT_COUNT] = {&counter_component};

bool item_hidden(const struct item *item)
{
    return item->retirement.hidden && item->retirement.total == item->total;
}

const struct component *component_by_number(uint8_t number)
{
    for (size_t i = 0; i < COMPONENT_COUNT; i++)
        if (components[i]->number == number)
            return components[i];
    return NULL;
}

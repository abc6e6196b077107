#include "replica/waits.h"

#include <stdlib.h>
#include <string.h>

void waits_clear(struct waits *q)
{
    free(q->list);
    *q = (struct waits){0};
}

/* Room for one more behind the last. What was dropped in front is used again once it is half of the list, so that
 * each element is moved once, on average, and no more. */
static bool make_room(struct waits *q)
{
    size_t size = q->size == 0 ? 1024 : 2 * q->size;
    struct wait *list;

    if (q->first + q->count < q->size)
        return true;
    if (q->first > 0 && q->first >= q->size / 2) {
        memmove(q->list, q->list + q->first, q->count * sizeof *q->list);
        q->first = 0;
        return true;
    }
    list = realloc(q->list, size * sizeof *list);
    if (list == NULL)
        return false;
    q->list = list;
    q->size = size;
    return true;
}

bool waits_add(struct waits *q, const struct wait *wait)
{
    if (!make_room(q))
        return false;
    q->list[q->first + q->count++] = *wait;
    return true;
}

struct wait *waits_first(const struct waits *q)
{
    return q->count > 0 ? &q->list[q->first] : NULL;
}

struct wait *waits_last(const struct waits *q)
{
    return q->count > 0 ? &q->list[q->first + q->count - 1] : NULL;
}

void waits_drop_first(struct waits *q)
{
    q->count--;
    q->first = q->count > 0 ? q->first + 1 : 0;
}

void waits_drop_last(struct waits *q)
{
    q->count--;
}

void waits_filter(struct waits *q, bool (*keep)(void *arg, const struct wait *wait),
                  void *arg)
{
    struct wait *list = q->list + q->first;
    size_t kept = 0;

    for (size_t i = 0; i < q->count; i++)
        if (keep(arg, &list[i]))
            list[kept++] = list[i];
    q->count = kept;
    if (kept == 0)
        q->first = 0;
}

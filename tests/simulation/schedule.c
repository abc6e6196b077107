#include "tests/simulation/schedule.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

/* A heap. */

static bool before(const struct event *a, const struct event *b)
{
    return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->order < b->order);
}

void schedule_add(struct schedule *s, uint64_t at_ms, int kind, uint64_t number, void *of)
{
    size_t at = s->count++;

    if (at == s->size) {
        s->size = at == 0 ? 256 : 2 * at;
        s->events = realloc(s->events, s->size * sizeof *s->events);
        if (s->events == NULL)
            abort();
    }
    s->events[at] = (struct event){
        .at_ms = at_ms, .order = s->order++, .kind = kind, .number = number, .of = of};
    while (at > 0 && before(&s->events[at], &s->events[(at - 1) / 2])) {
        struct event e = s->events[at];

        s->events[at] = s->events[(at - 1) / 2];
        s->events[(at - 1) / 2] = e;
        at = (at - 1) / 2;
    }
}

struct event schedule_next(struct schedule *s)
{
    struct event first, last;
    size_t at = 0, child;

    assert(s->count > 0);
    first = s->events[0];
    last = s->events[--s->count];
    while ((child = 2 * at + 1) < s->count) {
        if (child + 1 < s->count && before(&s->events[child + 1], &s->events[child]))
            child++;
        if (!before(&s->events[child], &last))
            break;
        s->events[at] = s->events[child];
        at = child;
    }
    s->events[at] = last;
    return first;
}

void schedule_clear(struct schedule *s)
{
    while (s->count > 0)
        free(s->events[--s->count].of);
    free(s->events);
    *s = (struct schedule){0};
}

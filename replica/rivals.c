#include "replica/rivals.h"

/* The run's place; where it has none yet, that of the one not heard for longest. */
static size_t place_of(struct rivals *r, const struct id *run)
{
    size_t oldest = 0;

    for (size_t i = 0; i < r->count; i++) {
        if (id_equal(&r->run[i].run, run))
            return i;
        if (r->run[i].heard_ms < r->run[oldest].heard_ms)
            oldest = i;
    }
    if (r->count < RIVALS_RUNS)
        oldest = r->count++;
    r->run[oldest] = (struct rivals_run){.run = *run};
    return oldest;
}

static void returned(struct rivals *r, uint64_t now_ms)
{
    if (r->returns > 0 && now_ms - r->returned_ms < RIVALS_APART_MS)
        return;
    if (!rivals_alive(r, now_ms) && now_ms - r->returned_ms > RIVALS_GAP_MS)
        r->returns = 0;
    if (r->returns < RIVALS_RETURNS)
        r->returns++;
    r->returned_ms = now_ms;
}

bool rivals_heard(struct rivals *r, const struct id *run, uint64_t number,
                  uint64_t now_ms)
{
    size_t place = place_of(r, run);
    struct rivals_run *of = &r->run[place];
    bool known = of->number > 0;

    if (number <= of->number)
        return false;
    if (known && place != r->last)
        returned(r, now_ms);
    of->number = number;
    of->heard_ms = now_ms;
    r->last = place;
    return true;
}

void rivals_proven(struct rivals *r, uint64_t now_ms)
{
    struct rivals_run *of = &r->run[r->last];

    if (of->proven) { /* It echoes what was drawn when another took its place. */
        r->returns = RIVALS_RETURNS;
        r->returned_ms = now_ms;
    }
    of->proven = true;
}

bool rivals_alive(const struct rivals *r, uint64_t now_ms)
{
    return r->returns == RIVALS_RETURNS && now_ms - r->returned_ms < RIVALS_SEEN_MS;
}

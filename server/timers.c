#include "server/timers.h"

#include <assert.h>
#include <stdlib.h>

/* A binary heap, its root at 1. An entry's time is never later than its timer's own. */
struct entry {
    uint64_t at_ms;
    struct timer *timer;
};

struct timers {
    size_t count, max;
    struct entry heap[]; /* [0] is not used */
};

struct timers *timers_new(size_t max)
{
    struct timers *timers =
        calloc(1, sizeof *timers + (max + 1) * sizeof timers->heap[0]);

    if (timers != NULL)
        timers->max = max;
    return timers;
}

void timers_free(struct timers *timers)
{
    free(timers);
}

static void place(struct timers *timers, size_t slot, struct entry entry)
{
    timers->heap[slot] = entry;
    entry.timer->slot = (uint32_t)slot;
}

/* Move the entry, whose place is free, towards the root. */
static void sift_up(struct timers *timers, size_t slot, struct entry entry)
{
    while (slot > 1 && timers->heap[slot / 2].at_ms > entry.at_ms) {
        place(timers, slot, timers->heap[slot / 2]);
        slot /= 2;
    }
    place(timers, slot, entry);
}

/* Move the entry, whose place is free, away from the root. */
static void sift_down(struct timers *timers, size_t slot, struct entry entry)
{
    for (;;) {
        size_t child = 2 * slot;

        if (child < timers->count &&
            timers->heap[child + 1].at_ms < timers->heap[child].at_ms)
            child++;
        if (child > timers->count || timers->heap[child].at_ms >= entry.at_ms)
            break;
        place(timers, slot, timers->heap[child]);
        slot = child;
    }
    place(timers, slot, entry);
}

void timers_set(struct timers *timers, struct timer *timer, uint64_t at_ms)
{
    timer->at_ms = at_ms;
    if (timer->slot == 0) {
        assert(timers->count < timers->max);
        sift_up(timers, ++timers->count, (struct entry){at_ms, timer});
    } else if (at_ms < timers->heap[timer->slot].at_ms) {
        sift_up(timers, timer->slot, (struct entry){at_ms, timer});
    }
}

void timers_stop(struct timers *timers, struct timer *timer)
{
    size_t slot = timer->slot;
    struct entry last;

    if (slot == 0)
        return;
    timer->slot = 0;
    last = timers->heap[timers->count--];
    if (last.timer == timer)
        return;
    if (slot > 1 && timers->heap[slot / 2].at_ms > last.at_ms)
        sift_up(timers, slot, last);
    else
        sift_down(timers, slot, last);
}

struct timer *timers_over(struct timers *timers, uint64_t now_ms)
{
    while (timers->count > 0 && timers->heap[1].at_ms <= now_ms) {
        struct timer *timer = timers->heap[1].timer;

        if (timer->at_ms <= now_ms) {
            timers_stop(timers, timer);
            return timer;
        }
        sift_down(timers, 1, (struct entry){timer->at_ms, timer});
    }
    return NULL;
}

uint64_t timers_due_ms(const struct timers *timers)
{
    return timers->count > 0 ? timers->heap[1].at_ms : UINT64_MAX;
}

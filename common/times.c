#include "common/times.h"

const uint64_t times_bounds_us[TIMES_BUCKETS - 1] = {
    100,   250,   500,    1000,   2500,    5000,    10000,
    25000, 50000, 100000, 250000, 1000000, 2500000, 10000000};

/* No locked instruction: there is one writer. */
static void add(_Atomic uint64_t *figure, uint64_t n)
{
    atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

void times_add(struct times *times, uint64_t us)
{
    unsigned i = 0;

    while (i < TIMES_BUCKETS - 1 && us > times_bounds_us[i])
        i++;
    add(&times->bucket[i], 1);
    add(&times->sum_us, us);
}

void times_merge(struct times *into, const struct times *from)
{
    for (unsigned i = 0; i < TIMES_BUCKETS; i++)
        add(&into->bucket[i],
            atomic_load_explicit(&from->bucket[i], memory_order_relaxed));
    add(&into->sum_us, atomic_load_explicit(&from->sum_us, memory_order_relaxed));
}

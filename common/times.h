/* common/times.h: how long something took, counted in the buckets of a Prometheus histogram. One writer, any number of
 * readers, in memory that processes share. */
#ifndef COMMON_TIMES_H
#define COMMON_TIMES_H
#include <stdatomic.h>
#include <stdint.h>

enum { TIMES_BUCKETS = 15 };

/* The upper bounds, in microseconds; the last bucket has none. */
extern const uint64_t times_bounds_us[TIMES_BUCKETS - 1];

/* Zero-initialised. */
struct times {
    _Atomic uint64_t bucket[TIMES_BUCKETS]; /* each alone, not what is below it, too */
    _Atomic uint64_t sum_us;
};

void times_add(struct times *times, uint64_t us);
/* Adds what `from` has. */
void times_merge(struct times *into, const struct times *from);

#endif

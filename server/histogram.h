/* server/histogram.h: latencies in microseconds, counted in bins: the value of a
 * percentile is at most 1/64 too high, in a fixed amount of memory. No I/O, no
 * allocation. */
#ifndef SERVER_HISTOGRAM_H
#define SERVER_HISTOGRAM_H
#include <stdint.h>

/* Bins of width 1 below 128, then 64 bins for each doubling, up to 2^40 µs (12 days). */
enum {
    HISTOGRAM_STEPS = 64,
    HISTOGRAM_DOUBLINGS = 34,
    HISTOGRAM_BINS = HISTOGRAM_STEPS * (HISTOGRAM_DOUBLINGS + 1)
};

/* Zero-initialised. */
struct histogram {
    uint64_t bins[HISTOGRAM_BINS];
    uint64_t count, max;
};

void histogram_add(struct histogram *h, uint64_t us);

/* The smallest value that `share` (0 to 1) of all are not above; 0 where there are
 * none. */
uint64_t histogram_at(const struct histogram *h, double share);

#endif

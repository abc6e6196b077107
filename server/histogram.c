#include "server/histogram.h"

#include <math.h>

/* A value v of 64 or more has its highest bit at position 6 + d: d doublings, and the six
 * bits below the highest choose the step within the doubling. */
static unsigned bin_of(uint64_t us)
{
    unsigned doublings, bin;

    if (us < HISTOGRAM_STEPS)
        return (unsigned)us;
    doublings = 57 - (unsigned)__builtin_clzll(us);
    bin = doublings * HISTOGRAM_STEPS + (unsigned)(us >> doublings);
    return bin < HISTOGRAM_BINS ? bin : HISTOGRAM_BINS - 1;
}

/* The highest value of a bin. */
static uint64_t bin_top(unsigned bin)
{
    unsigned doublings = bin / HISTOGRAM_STEPS;

    if (doublings < 2)
        return bin;
    doublings--;
    return ((uint64_t)(bin - doublings * HISTOGRAM_STEPS + 1) << doublings) - 1;
}

void histogram_add(struct histogram *h, uint64_t us)
{
    h->bins[bin_of(us)]++;
    h->count++;
    if (us > h->max)
        h->max = us;
}

uint64_t histogram_at(const struct histogram *h, double share)
{
    uint64_t rank = (uint64_t)ceil(share * (double)h->count);
    uint64_t seen = 0;

    if (h->count == 0)
        return 0;
    if (rank == 0)
        rank = 1;
    for (unsigned bin = 0; bin < HISTOGRAM_BINS; bin++) {
        seen += h->bins[bin];
        if (seen >= rank)
            return bin_top(bin) < h->max ? bin_top(bin) : h->max;
    }
    return h->max;
}

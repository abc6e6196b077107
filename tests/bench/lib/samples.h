/* tests/bench/lib/samples.h: durations, and how they spread. A failure ends the program. */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H
#include <stddef.h>
#include <stdint.h>

enum { SAMPLES_MAX = 1 << 22 };

struct samples {
    uint32_t *us;
    size_t count;
};

/* Seconds of the monotonic clock. */
double samples_now(void);

/* Without memory for SAMPLES_MAX of them the program ends. samples_free() leaves none. */
struct samples samples_new(void);
void samples_free(struct samples *s);

/* What does not fit is left out. */
void samples_add(struct samples *s, double seconds);
void samples_add_all(struct samples *s, const struct samples *from);

/* Sorts them, and prints the rest of a JSON object to standard output: samples, p50_us, p99_us, max_us, and
 * `spread`, pairs of a share of them and the microseconds that it took at most. There has to be one. */
void samples_print(struct samples *s);

#endif

#include "samples.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double samples_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct samples samples_new(void)
{
    struct samples s = {.us = malloc(SAMPLES_MAX * sizeof *s.us)};

    if (s.us == NULL)
        errx(1, "no memory for samples");
    return s;
}

void samples_free(struct samples *s)
{
    free(s->us);
    *s = (struct samples){.us = NULL};
}

void samples_add(struct samples *s, double seconds)
{
    if (s->count < SAMPLES_MAX)
        s->us[s->count++] = (uint32_t)(seconds * 1e6);
}

void samples_add_all(struct samples *s, const struct samples *from)
{
    size_t room = SAMPLES_MAX - s->count;
    size_t count = from->count < room ? from->count : room;

    memcpy(s->us + s->count, from->us, count * sizeof *s->us);
    s->count += count;
}

static int us_order(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* The sample that so large a share of all is not above. */
static uint32_t at(const struct samples *s, double share)
{
    size_t i = (size_t)((double)s->count * share);

    return s->us[i < s->count ? i : s->count - 1];
}

void samples_print(struct samples *s)
{
    static const double shares[] = {0,    0.05, 0.1,   0.2,   0.3,    0.4,
                                    0.5,  0.6,  0.7,   0.8,   0.9,    0.95,
                                    0.98, 0.99, 0.995, 0.999, 0.9999, 1};

    if (s->count == 0)
        errx(1, "there are no samples");
    qsort(s->us, s->count, sizeof *s->us, us_order);
    printf(
        ", \"samples\": %zu, \"p50_us\": %u, \"p99_us\": %u, \"max_us\": %u, \"spread\": [",
        s->count, at(s, 0.5), at(s, 0.99), at(s, 1));
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        printf("%s[%g, %u]", i == 0 ? "" : ", ", shares[i], at(s, shares[i]));
    puts("]}");
}

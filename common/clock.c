#include "common/clock.h"

#include <time.h>

static uint64_t microseconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now); /* Fails for clocks that do not exist alone. */
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_mono_ms(void)
{
    return microseconds(CLOCK_MONOTONIC) / 1000;
}

uint64_t clock_mono_us(void)
{
    return microseconds(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ms(void)
{
    return microseconds(CLOCK_REALTIME) / 1000;
}

/* common/clock.h: what time it is. Not for the core, to which time comes with each event. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H
#include <stdint.h>

/* CLOCK_MONOTONIC: only grows, and begins anywhere; for limits, and for how long something took. In milliseconds and in
 * microseconds. */
uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);

/* CLOCK_REALTIME: milliseconds since 1970. Somebody may set it back. */
uint64_t clock_wall_ms(void);

#endif

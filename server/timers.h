/* server/timers.h: deadlines of many things, one each, as a heap. No I/O, no clock. Most
 * deadlines of a call are moved on before they are over (a command is answered long
 * before its time is up), so moving one to later costs nothing: the heap learns of it
 * when the old time comes. */
#ifndef SERVER_TIMERS_H
#define SERVER_TIMERS_H
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* Part of the thing that it times; zero-initialised: not running. */
struct timer {
    uint64_t at_ms; /* when it is over; milliseconds of any clock that only grows */
    uint32_t slot;  /* in the heap, from 1; 0: not in it */
};

struct timers;

/* Room for max timers, so that setting one cannot fail. NULL without memory. */
struct timers *timers_new(size_t max);
void timers_free(struct timers *timers);

/* Start it, or move it. At most max may run. */
void timers_set(struct timers *timers, struct timer *timer, uint64_t at_ms);
/* Stop it, as must be done before its memory is freed. Not running: nothing. */
void timers_stop(struct timers *timers, struct timer *timer);

/* Stop and return one whose time is over; NULL when there is none. */
struct timer *timers_over(struct timers *timers, uint64_t now_ms);
/* No timer is over before this; UINT64_MAX: none runs. May be too early, never too late.
 * */
uint64_t timers_due_ms(const struct timers *timers);

#endif

/* tests/simulation/schedule.h: what is going to happen, in the order of simulated time. */
#ifndef SIMULATION_SCHEDULE_H
#define SIMULATION_SCHEDULE_H
#include <stddef.h>
#include <stdint.h>

struct event {
    uint64_t at_ms, order;
    int kind; /* the history's own */
    uint64_t number;
    void *of; /* from malloc(), or NULL, where schedule_clear() is to free it */
};

/* Zero-initialised is empty. */
struct schedule {
    struct event *events;
    size_t count, size;
    uint64_t order;
};

/* Of what happens at one moment, what was added first comes first. */
void schedule_add(struct schedule *s, uint64_t at_ms, int kind, uint64_t number,
                  void *of);
/* The earliest; there must be one. */
struct event schedule_next(struct schedule *s);
/* Frees all, and what it is of. */
void schedule_clear(struct schedule *s);

#endif

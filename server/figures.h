/* server/figures.h: what happened, as numbers in memory that all processes share: mapped
 * by the master before it forks, so a process that dies leaves its figures behind. */
#ifndef SERVER_FIGURES_H
#define SERVER_FIGURES_H
#include <stdatomic.h>
#include <stdint.h>

#include "common/times.h"
#include "server/call.h"

/* One writer each, a worker; any process may read. A worker that follows another one in
 * its place goes on with its numbers, except for `open`. */
struct figures_worker {
    _Atomic uint64_t taken;   /* connections accepted, those refused left out */
    _Atomic uint64_t refused; /* closed at once: not in the allow list */
    _Atomic uint64_t open;    /* calls now */
    _Atomic uint64_t ended[CALL_ENDS];
    _Atomic uint64_t cut;    /* closed by us because a stop did not wait any longer */
    _Atomic uint64_t counts; /* asked of the state process */
    _Atomic uint64_t
        resends;          /* messages to it that were sent again for want of an answer */
    struct times answers; /* of counts */
};

/* The master's. */
struct figures_master {
    _Atomic uint64_t workers_started, states_started, metrics_started;
    _Atomic uint64_t reloads, reloads_refused;
};

struct figures;

/* With places for that many workers at once. NULL without memory. */
struct figures *figures_map(unsigned places);
struct figures_worker *figures_place(struct figures *figures, unsigned place);
struct figures_master *figures_master(struct figures *figures);
const struct figures_master *figures_of_master(const struct figures *figures);

/* The sum over all places. */
void figures_sum(const struct figures *figures, struct figures_worker *sum);

/* Cheap, because there is one writer: no locked instruction. */
static inline void figures_add(_Atomic uint64_t *figure, uint64_t n)
{
    atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline void figures_set(_Atomic uint64_t *figure, uint64_t n)
{
    atomic_store_explicit(figure, n, memory_order_relaxed);
}

static inline uint64_t figures_read(const _Atomic uint64_t *figure)
{
    return atomic_load_explicit(figure, memory_order_relaxed);
}

#endif

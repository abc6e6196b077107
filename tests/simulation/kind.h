/* tests/simulation/kind.h: a kind of history: of one node (sim.c), or of a cluster (cluster.c). What main.c and pool.c
 * need to know to run, replay, shrink and count histories of it. */
#ifndef SIMULATION_KIND_H
#define SIMULATION_KIND_H
#include <stdint.h>

#include "tests/simulation/mutants.h"

struct kind;

struct sim_options {
    const struct kind *kind;
    uint64_t seed;
    uint64_t length_ms;
    uint32_t without; /* bits of faults */
    int verbose;
    const char *mutant; /* NULL: none */
};

/* What one history was; and the sum of many. */
enum { FIGURES_MAX = 128 };
struct sim_result {
    uint64_t hash, simulated_ms;
    uint64_t figure[FIGURES_MAX]; /* the kind's */
};

struct fault_name {
    const char *name, *text;
};

struct kind {
    const char *option; /* on the command line, with a space before it; "" for none */
    uint64_t length_ms; /* of a history, if nothing else is said */
    const struct fault_name *faults;
    unsigned fault_count; /* at most 32 */
    const struct mutant_names *mutants;
    /* Runs one history; returns only where nothing broke. */
    void (*run)(const struct sim_options *options, struct sim_result *result);
    void (*print)(const struct sim_result *sum);
};

extern const struct kind kind_node, kind_cluster;

#endif

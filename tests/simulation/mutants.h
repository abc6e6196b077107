/* tests/simulation/mutants.h: rules that are broken on purpose, one at a time: those of replica/mutant.h, and some
 * that the disk breaks. */
#ifndef SIMULATION_MUTANTS_H
#define SIMULATION_MUTANTS_H
#include <stddef.h>

#include "replica/mutant.h"
#include "tests/simulation/simdisk.h"

/* Which are for a node alone, and which for a cluster. */
struct mutant_names {
    const char *const *names;
    size_t count;
};
extern const struct mutant_names mutants_of_node, mutants_of_cluster;

/* From here on this rule is broken; NULL: none. */
void mutants_set(const char *name);
/* What the disk does of it. */
struct simdisk_mutants mutants_of_disk(const char *name);

#endif

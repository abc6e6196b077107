#include "tests/simulation/mutants.h"

#include <string.h>

#define MUTANT_TEXT(name, text) #name,
static const char *const all[] = {MUTANTS(MUTANT_TEXT)};
static const char *const of_node[] = {"sync_nothing", "no_folder_sync",
                                      NODE_MUTANTS(MUTANT_TEXT)};
static const char *const of_cluster[] = {CLUSTER_MUTANTS(MUTANT_TEXT)};

enum mutant mutant_active;

const struct mutant_names mutants_of_node = {of_node, sizeof of_node / sizeof *of_node};
const struct mutant_names mutants_of_cluster = {of_cluster,
                                                sizeof of_cluster / sizeof *of_cluster};

void mutants_set(const char *name)
{
    mutant_active = MUTANT_none;
    for (size_t i = 0; name != NULL && i < MUTANT_COUNT - 1; i++)
        if (strcmp(all[i], name) == 0)
            mutant_active = (enum mutant)(i + 1);
}

struct simdisk_mutants mutants_of_disk(const char *name)
{
    return (struct simdisk_mutants){
        .no_sync = name != NULL && strcmp(name, "sync_nothing") == 0,
        .no_folder_sync = name != NULL && strcmp(name, "no_folder_sync") == 0};
}

#include "server/figures.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

/* A cache line belongs to one writer. */
union place {
    struct figures_worker worker;
    char lines[(sizeof(struct figures_worker) + 63) / 64 * 64];
};

struct figures {
    unsigned places;
    struct figures_master master;
    _Alignas(64) union place place[];
};

struct figures *figures_map(unsigned places)
{
    size_t bytes = sizeof(struct figures) + places * sizeof(union place);
    struct figures *figures =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (figures == MAP_FAILED)
        return NULL;
    figures->places = places;
    return figures;
}

struct figures_worker *figures_place(struct figures *figures, unsigned place)
{
    assert(place < figures->places);
    return &figures->place[place].worker;
}

struct figures_master *figures_master(struct figures *figures)
{
    return &figures->master;
}

const struct figures_master *figures_of_master(const struct figures *figures)
{
    return &figures->master;
}

void figures_sum(const struct figures *figures, struct figures_worker *sum)
{
    memset(sum, 0, sizeof *sum);
    for (unsigned i = 0; i < figures->places; i++) {
        const struct figures_worker *worker = &figures->place[i].worker;

        figures_add(&sum->taken, figures_read(&worker->taken));
        figures_add(&sum->refused, figures_read(&worker->refused));
        figures_add(&sum->open, figures_read(&worker->open));
        figures_add(&sum->cut, figures_read(&worker->cut));
        figures_add(&sum->counts, figures_read(&worker->counts));
        figures_add(&sum->resends, figures_read(&worker->resends));
        times_merge(&sum->answers, &worker->answers);
        for (size_t end = 0; end < CALL_ENDS; end++)
            figures_add(&sum->ended[end], figures_read(&worker->ended[end]));
    }
}

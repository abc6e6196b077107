#include "replica/gauges.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>

/* The sequence is odd while the writer writes: a reader whose copy began with another one than it ended
 * with, or with an odd one, looks again. A writer that died in the middle leaves it odd, until gauges_clear(). */
struct gauges {
    _Atomic uint64_t sequence; /* 0: nothing was published */
    struct gauges_view view;
    struct times commits;
};

enum { TRIES = 1000 };

struct gauges *gauges_map(void)
{
    struct gauges *gauges = mmap(NULL, sizeof *gauges, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return gauges != MAP_FAILED ? gauges : NULL;
}

struct times *gauges_commits(struct gauges *gauges)
{
    return &gauges->commits;
}

static void view_of(struct node *node, const struct network *network,
                    struct gauges_view *v)
{
    struct node_figures f;
    struct network_peer peer;
    struct statvfs fs;

    node_figures(node, &f);
    *v = (struct gauges_view){.joining = !core_is_open(node_core(node)),
                              .provisional =
                                  core_status(node_core(node)) == STATUS_PROVISIONAL,
                              .full = f.full,
                              .counters = f.core.items,
                              .streams = f.core.streams,
                              .forks = f.core.forks,
                              .blocks = f.core.blocks,
                              .counts = f.core.ops,
                              .commits = f.commits,
                              .copies = f.core.copies,
                              .nodes = f.core.nodes,
                              .waiting = f.core.waiting,
                              .late = f.core.late,
                              .log_first = f.first,
                              .log_end = f.end.lsn,
                              .checkpoint = f.checkpoint,
                              .checkpoint_ms = f.checkpoint_wall_ms};
    if (statvfs(".", &fs) == 0) {
        v->disk = (uint64_t)fs.f_blocks * fs.f_frsize;
        v->disk_free = (uint64_t)fs.f_bavail * fs.f_frsize;
    }
    if (network == NULL)
        return;
    network_figures(network, &v->network);
    v->peers = network_count(network);
    for (size_t i = 0; i < v->peers; i++) {
        network_peer(network, i, &peer);
        v->peer[i] = peer.figures;
    }
}

void gauges_publish(struct gauges *gauges, struct node *node,
                    const struct network *network)
{
    uint64_t sequence = atomic_load_explicit(&gauges->sequence, memory_order_relaxed);
    struct gauges_view view;

    view_of(node, network, &view);
    atomic_store_explicit(&gauges->sequence, sequence + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    gauges->view = view;
    atomic_store_explicit(&gauges->sequence, sequence + 2, memory_order_release);
}

bool gauges_look(const struct gauges *gauges, struct gauges_view *view,
                 struct times *commits)
{
    for (int i = 0; i < TRIES; i++) {
        uint64_t begun = atomic_load_explicit(&gauges->sequence, memory_order_acquire);

        *view = gauges->view;
        atomic_thread_fence(memory_order_acquire);
        if (begun == 0)
            return false;
        if (begun % 2 == 0 &&
            begun == atomic_load_explicit(&gauges->sequence, memory_order_relaxed)) {
            times_merge(commits, &gauges->commits);
            return true;
        }
    }
    return false;
}

void gauges_clear(struct gauges *gauges)
{
    /* The times stay: they are counted over all state processes. */
    gauges->view = (struct gauges_view){0};
    atomic_store_explicit(&gauges->sequence, 0, memory_order_release);
}

#include "replica/peer.h"

#include <stdlib.h>

struct progress *peer_progress(struct peer *peer, const struct id *stream)
{
    struct progress *progress;

    HASH_FIND(hh, peer->progress, stream, sizeof *stream, progress);
    if (progress != NULL)
        return progress;
    progress = calloc(1, sizeof *progress);
    if (progress == NULL)
        return NULL;
    progress->stream = *stream;
    HASH_ADD(hh, peer->progress, stream, sizeof *stream, progress);
    if (progress->hh.tbl == NULL) {
        free(progress);
        return NULL;
    }
    return progress;
}

void peer_forget_progress(struct peer *peer)
{
    struct progress *progress, *next;

    HASH_ITER(hh, peer->progress, progress, next)
    {
        HASH_DEL(peer->progress, progress);
        free(progress);
    }
}

bool peer_takes_no_more(const struct peer *peer, const struct progress *progress)
{
    return progress->frozen_round != 0 && progress->frozen_round == peer->round;
}

uint64_t peer_has(const void *arg, const struct id *stream)
{
    const struct peer *peer = arg;
    const struct progress *progress;

    HASH_FIND(hh, peer->progress, stream, sizeof *stream, progress);
    if (progress == NULL)
        return 0;
    return peer_takes_no_more(peer, progress) ? UINT64_MAX : progress->have;
}

bool peer_holds_any(const struct peer *peer)
{
    for (const struct progress *p = peer->progress; p != NULL; p = p->hh.next)
        if (p->have > 0)
            return true;
    return false;
}

uint64_t peer_lacks(const struct peers *p, const struct peer *peer)
{
    return core_lacks(node_core(p->config.node), peer_has, peer);
}

uint64_t peer_is_ahead(const struct peers *p, const struct peer *peer)
{
    const struct core *core = node_core(p->config.node);
    uint64_t sum = 0;

    for (const struct progress *progress = peer->progress; progress != NULL;
         progress = progress->hh.next) {
        uint64_t held = core_held(core, &progress->stream);

        if (core_is_frozen(core, &progress->stream))
            continue;
        sum += progress->have > held ? progress->have - held : 0;
    }
    return sum;
}

void peer_log_dropped(struct peer *peer, const char *what, uint64_t now_ms)
{
    uint64_t more;

    if (log_limit_pass(&peer->limit, now_ms, &more))
        log_warn("peer %s: %s (and %llu more since the last such line)",
                 peer->config.name, what, (unsigned long long)more);
}

void peer_send(struct peers *p, size_t i, uint8_t type, size_t len)
{
    size_t sealed = link_seal(p->peer[i]->link, type, p->payload, len, p->sealed);

    p->config.send(p->config.arg, i, p->sealed, sealed);
}

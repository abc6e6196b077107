#include "replica/copies.h"

#include "common/log.h"
#include "replica/peer.h"
#include "replica/streams.h"

/* Its last HAVE is of its present run. */
static bool tells_what_it_holds(const struct peer *peer)
{
    return link_up(peer->link) && peer->heard_have;
}

/* Up to which block the peer holds the stream as it is here. Where it contradicts, or there is more of it, nobody can
 * say. */
static uint64_t copies_of(const struct peer *peer, const struct stream *stream)
{
    const struct id *id = &stream->end.position.stream;
    const struct progress *progress;

    HASH_FIND(hh, peer->progress, id, sizeof *id, progress);
    if (progress == NULL || progress->proof_ms != 0 ||
        peer_takes_no_more(peer, progress) ||
        progress->have > stream->end.position.number)
        return 0;
    return progress->have;
}

/* Up to which block a stream is held by so many nodes, this one and `copies` - 1 peers. */
static uint64_t held_by(const struct peers *p, const struct stream *stream,
                        unsigned copies)
{
    uint64_t most[PEERS_MAX]; /* what is held, most first */
    size_t count = 0;

    if (copies <= 1)
        return stream->end.position.number;
    for (size_t i = 0; i < p->count; i++) {
        uint64_t have;
        size_t at = count;

        if (!tells_what_it_holds(p->peer[i]))
            continue;
        have = copies_of(p->peer[i], stream);
        for (; at > 0 && most[at - 1] < have; at--)
            most[at] = most[at - 1];
        most[at] = have;
        count++;
    }
    return count >= copies - 1 ? most[copies - 2] : 0;
}

/* Tell the core which of this node's own blocks enough nodes hold. less: what was held may not be any more; else only
 * what was not is looked at, for of ended streams there may be many. */
void copies_tell(struct peers *p, bool less)
{
    struct core *core = node_core(p->config.node);
    const struct streams *streams = core_streams(core);
    unsigned nodes = 1;

    for (size_t i = 0; i < p->count; i++)
        nodes += p->peer[i]->here;
    core_set_nodes(core, nodes);
    if (core_copies(core) <= 1)
        return;
    for (size_t i = 0; i < streams->own_count; i++) {
        const struct stream *own = streams->own[i];

        if (less || own->copied < own->end.position.number)
            core_copied(core, &own->end.position.stream,
                        held_by(p, own, core_copies(core)));
    }
}

/* Say when copies are not to be had, and when they are again; at the start it takes a moment until peers are here. */
void copies_log(struct peers *p, uint64_t now_ms)
{
    bool lack = !core_copies_to_be_had(node_core(p->config.node));
    struct core_figures figures;

    if (lack == p->copies_lack || (lack && now_ms - p->begun_ms < PEERS_SILENT_MS))
        return;
    p->copies_lack = lack;
    core_figures(node_core(p->config.node), &figures);
    if (!lack)
        log_info("copies = %u can be had: counting", figures.copies);
    else if (figures.nodes < figures.copies)
        log_warn("copies = %u, and %u nodes are connected: new counts are refused until "
                 "there are enough",
                 figures.copies, figures.nodes);
    else
        log_warn(
            "copies = %u came too late: new counts are refused until so many nodes hold "
            "all that was counted here",
            figures.copies);
}

#include "replica/join.h"

#include "common/log.h"
#include "replica/mutant.h"
#include "replica/peer.h"

/* Counting may begin. */
static void join(struct peers *p, const char *with)
{
    if (with != NULL)
        log_info("caught up with %s: counting", with);
    else
        log_warn("no peer to catch up with within join-wait: counting all the same");
    core_open(node_core(p->config.node));
}

/* Is all that this peer holds enough? One that joins, too, has as yet only a part of what the others hold, and one that
 * holds nothing may not have reached them yet. */
static bool is_member(const struct peer *peer)
{
    return !peer->joins && (peer_holds_any(peer) || MUTANT(join_empty));
}

/* A member of which the node lacks nothing; NULL: none. *all: of no peer does it lack anything. */
static const struct peer *caught_up_with(const struct peers *p, bool *all)
{
    *all = true;
    for (size_t i = 0; i < p->count; i++) {
        const struct peer *peer = p->peer[i];

        if (!peer->heard_have || peer_is_ahead(p, peer) > 0)
            *all = false;
        else if (is_member(peer))
            return peer;
    }
    return NULL;
}

/* Once it holds all that a member has named; or, where all join, all that any of them has: a cluster that begins, or was
 * restored as a whole. Or it has waited long enough. */
void join_turn(struct peers *p, uint64_t now_ms)
{
    bool all;
    const struct peer *member = caught_up_with(p, &all);

    if (member != NULL)
        join(p, member->config.name);
    else if (all)
        join(p, "all peers, which join, too");
    else if (now_ms >= p->join_ms)
        join(p, NULL);
}

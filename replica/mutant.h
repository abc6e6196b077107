/* replica/mutant.h: rules of this folder that the simulator breaks on purpose, one at a
 * time, to show that it would notice (tests/simulation). In every other build MUTANT() is
 * 0 and costs nothing: only the simulator's own copy of the library is compiled with
 * TALLY_MUTANTS. */
#ifndef REPLICA_MUTANT_H
#define REPLICA_MUTANT_H

/* name, and what is done instead. The first are for a node alone, the others for a cluster. */
#define NODE_MUTANTS(X)                                                              \
    X(answer_before_sync, "counts are answered, and then synced")                    \
    X(retry_sync, "a sync that failed is tried again")                               \
    X(trust_tail, "recovery does not write again the tail that it relies on")        \
    X(leave_tail, "recovery does not clear what stands behind the log's end")        \
    X(leave_next, "nor in the segment after it")                                     \
    X(skip_header, "a segment's header is believed as it reads")                     \
    X(skip_checksum, "a frame's checksum is not looked at")                          \
    X(skip_chain, "a frame need not follow the one before it")                       \
    X(skip_witness, "rot inside the log is taken for its torn end")                  \
    X(skip_checkpoint_hash, "a checkpoint's hash is not looked at")                  \
    X(forget_requests, "a checkpoint leaves out the request ids")                    \
    X(forget_reach, "a checkpoint leaves out how far back the request ids reach")    \
    X(encode_later, "a checkpoint has what was counted while it was encoded")        \
    X(resume_stream, "a stream goes on after a restart")                             \
    X(release_newer, "the log goes up to the newest checkpoint, not the one before") \
    X(keep_one, "a checkpoint is removed as soon as there is a newer one")           \
    X(count_again, "a repeat of what is not yet synced counts again")                \
    X(answer_unsynced, "a repeat of what is not yet synced is answered at once")     \
    X(ignore_heard, "an unknown id is counted, whatever its worker had heard")       \
    X(number_of_durable, "a number leaves out what is gathered before it")           \
    X(ignore_error, "the process goes on after a failed write or sync")              \
    X(cut_at_once, "the log is cut after one look at its end")                       \
    X(remove_early, "recovery removes a checkpoint before the log is read")          \
    X(believe_second, "what recovery writes again is not looked at again")

#define CLUSTER_MUTANTS(X)                                                               \
    X(hold_unsynced, "blocks of others count as held before the sync")                   \
    X(send_unsynced, "blocks are sent, and counts answered, before the sync")            \
    X(take_gap, "a block is taken though the one before it is not held")                 \
    X(take_again, "a block that is held is taken again")                                 \
    X(skip_previous, "a block need not continue the one before it")                      \
    X(share_for_ever, "blocks that were put off wait for a count, however long")         \
    X(cover_all, "blocks that do not follow one another are taken for covered")          \
    X(skip_signature, "a block's signature is not looked at")                            \
    X(no_freeze, "a stream that forks goes on")                                          \
    X(tell_none, "a proof of a fork is not handed on")                                   \
    X(adopt_fork, "a checkpoint takes the place of what is held of a stream that forks") \
    X(keep_stream, "a stream that somebody else writes to goes on")                      \
    X(grow_only, "a peer that holds less than before is not believed")                   \
    X(never_resend, "what got lost is not sent again")                                   \
    X(never_relay, "blocks of others are not passed on")                                 \
    X(release_needed, "the log goes though a peer still needs it")                       \
    X(count_early, "a node that joins counts at once")                                   \
    X(forget_joining, "a node that joins counts at once behind a restart")               \
    X(join_empty, "a node has caught up with a peer that holds nothing")                 \
    X(adopt_bare, "another's checkpoint is taken over without the own blocks above it")  \
    X(keep_reach, "the memory of ids reaches behind a checkpoint of another")            \
    X(forget_lost, "ids in what a peer gives back are not remembered")                   \
    X(accept_stale, "messages that were heard before are taken again")                   \
    X(skip_run, "and those of an earlier process")                                       \
    X(skip_copies, "counts are answered before other nodes hold them")                   \
    X(lag_for_ever, "copies that came too late once are not to be had again")            \
    X(keep_window, "what a failed read was to replace is read")                          \
    X(retire_last, "of retirements the last to arrive counts")

#define MUTANTS(X) NODE_MUTANTS(X) CLUSTER_MUTANTS(X)

#define MUTANT_NAME(name, text) MUTANT_##name,
enum mutant { MUTANT_none, MUTANTS(MUTANT_NAME) MUTANT_COUNT };

#ifdef TALLY_MUTANTS
extern enum mutant mutant_active;
#define MUTANT(name) (mutant_active == MUTANT_##name)
#else
#define MUTANT(name) ((int)MUTANT_##name < 0)
#endif

#endif

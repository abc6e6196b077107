/* replica/state.h: the state process: the only writer of counters and log.
 * Owns the state directory, the node's key, and all that replica/ holds. */
#ifndef REPLICA_STATE_H
#define REPLICA_STATE_H
#include "common/conf.h"
#include "common/err.h"
#include "replica/control.h"
#include "replica/crypto.h"
#include "replica/gauges.h"

/* Exit codes of the state process. Any other, and any signal, is a crash: the master starts it again. */
enum {
    STATE_EXIT_OK = 0,     /* SIGTERM: checkpointed, all is on disk */
    STATE_EXIT_FAILED = 1, /* a write or sync failed: recover by starting again */
    STATE_EXIT_REFUSED =
        2, /* the state directory cannot be used (logged: why, and what to do): starting
                             * again changes nothing, so the master ends too */
};

/* Before the fork, in the master: make the state directory (0700) where it is missing, look that it is
 * Tally's and of a format known here, take its lock, and make it the working directory. The lock
 * is a flock() on *lock_fd: it is held for as long as any process has that descriptor open, so the
 * master and the state process keep it and workers close it. Where the lock is held by a master that is no more,
 * whose children are just ending, waits up to 10 s.
 * Errors: ERR_REFUSED  another tallyd holds it, or the folder is not Tally's, or is of a newer
 *                      format, or others may write to it: logged with what to do
 *         ERR_IO, ERR_FULL, ERR_NOT_FOUND  it cannot be made or opened: logged */
enum err state_dir_enter(const struct conf *conf, int *lock_fd);

/* A file in the state directory of a node that was restored from a backup, until it has caught up with a peer: the
 * numbers that it would say before are of long ago. A lone node has nobody to catch up with. */
#define STATE_RESTORED "restored"

/* What a new configuration changes in the state process that runs, as one message of a SOCK_SEQPACKET socket from the
 * master: both ends are one program. There also comes one byte, which asks whether the process still runs; it
 * answers with one, and says one unasked when it has recovered and serves. */
struct state_settings {
    enum log_level level;
    unsigned copies, copies_wait_ms;
    size_t count; /* of peers; 0 for a node without peer-listen */
    struct conf_peer peers[CONF_PEERS_MAX];
};

/* In the child, the state directory being the working directory: run until SIGTERM, then return
 * the exit code. conf must live on. settings_fd: where state_settings come, not blocking; it takes it over. gauges: where
 * it shows itself. */
int state_main(const struct conf *conf, int settings_fd, struct gauges *gauges,
               const struct control_calls_source *calls);

/* In the state directory, where no state process runs: the node's public key, made where there is none and
 * nothing was ever counted. Errors: as key_read(), ERR_REFUSED where the key of a log is missing; logged. */
enum err state_key(struct public_key *key);

#endif

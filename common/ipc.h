/* common/ipc.h: where the processes of one node meet: UNIX stream sockets, over which messages travel as frames
 * (common/frames.h). Paths are relative to the state directory, which the master makes the working directory before
 * it forks: a socket's path may hold no more than 107 bytes, a state directory's name may. The folder is 0700,
 * which is what keeps others away. Not nng, which links between nodes speak: here its threads would cost more
 * than all else that a count takes, and a listener of nng 1.5.2 that is to greet somebody who has gone takes no
 * connection any more (its bug 1518). */
#ifndef COMMON_IPC_H
#define COMMON_IPC_H

#define IPC_FOLDER       "ipc"
/* Workers, and tallyctl add: messages as in common/msg.h. A worker has at most one message under way. */
#define IPC_WORKERS_PATH IPC_FOLDER "/workers"
/* tallyctl: messages as in replica/control.h; each request is answered with one message, in their order. */
#define IPC_CONTROL_PATH IPC_FOLDER "/control"

/* Both: a descriptor that does not block and is closed by execve(), or -1 with errno, and nothing logged. */

/* Listen; what another process has left at path is removed. */
int ipc_listen(const char *path);
/* Connect, which never takes time. ENOENT, ECONNREFUSED: nobody listens; EAGAIN: more wait there than may; EACCES:
 * this process may not. */
int ipc_connect(const char *path);

#endif

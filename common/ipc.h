/* common/ipc.h: where the processes of one node meet. Paths are relative to the state directory,
 * which the master makes the working directory before it forks: a socket's path may hold no
 * more than 107 bytes, a state directory's name may. The folder is 0700, because nng makes its sockets
 * 0755. */
#ifndef COMMON_IPC_H
#define COMMON_IPC_H

#define IPC_FOLDER       "ipc"
/* Workers: nng PAIR1, polyamorous at the state process's end (one socket, many workers); messages as in
 * common/msg.h. A worker has at most one message under way. */
#define IPC_WORKERS_PATH IPC_FOLDER "/workers"
#define IPC_WORKERS_URL  "ipc://" IPC_WORKERS_PATH
/* tallyctl: nng REQ/REP; messages as in replica/control.h. */
#define IPC_CONTROL_PATH IPC_FOLDER "/control"
#define IPC_CONTROL_URL  "ipc://" IPC_CONTROL_PATH

#endif

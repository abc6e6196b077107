/* server/sandbox.h: giving up rights: root's, and then, in a worker, nearly all others.
 * */
#ifndef SERVER_SANDBOX_H
#define SERVER_SANDBOX_H
#include <stddef.h>

#include "common/err.h"

/* Become `user` for good, with that user's groups, and make folder, when it is missing or
 * root's, that user's (0700). Only root can.
 * Errors: ERR_NOT_FOUND  there is no such user: logged
 *         ERR_IO, ERR_FULL  logged */
enum err sandbox_become(const char *user, const char *folder);

/* In any child: no execve() gives rights that this process has not. In a worker also: no
 * capabilities even where it runs as root, and no core file, since its memory holds
 * callers' data. Before threads exist, as capabilities are a thread's own.
 * Errors: ERR_IO: logged */
enum err sandbox_no_new_rights(void);
enum err sandbox_drop_rights(void);

/* Raise the limit of open descriptors to `wanted`, or as far as it goes. Returns what is
 * allowed now. */
size_t sandbox_descriptors(size_t wanted);

/* The last step of a process that strangers talk to, when all threads, descriptors and memory maps of libraries exist: let
 * data memory grow by at most more_bytes, and allow only the system calls that serving
 * calls takes, in all threads. No file can be opened from then on (EACCES, as the C
 * library tries on some rare paths), no program be started, no socket made but AF_UNIX,
 * no memory be made executable; any call that is not on the list ends the process with
 * SIGSYS. A kernel without seccomp, and a build with a sanitizer: logged, and left out.
 * Errors: ERR_IO, ERR_MEMORY: logged */
enum err sandbox_enter(size_t more_bytes);

#endif

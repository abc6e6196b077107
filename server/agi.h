/* server/agi.h: the AGI protocol as Asterisk 22 speaks it: the environment, the responses, the
 * commands. Pure: no I/O. */
#ifndef SERVER_AGI_H
#define SERVER_AGI_H
#include "common/err.h"
#endif

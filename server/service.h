/* server/service.h: what the service manager that started tallyd, systemd, is told: sd_notify(3). Started by anything
 * else (NOTIFY_SOCKET is not set), these do nothing. For the master alone. */
#ifndef SERVER_SERVICE_H
#define SERVER_SERVICE_H
#include <stdint.h>

/* All is recovered, and calls are taken there, as `systemctl status` shows; NULL: by a witness, nowhere. */
void service_ready(const char *where);
/* A new tally.conf is being put into force; service_ready() ends it, also where it was refused. */
void service_reloading(void);
/* No more calls are taken. */
void service_stopping(void);

/* How long tallyd may say nothing, in milliseconds (WatchdogSec=); 0: for ever. */
uint64_t service_watchdog_ms(void);
/* Said more often than that. */
void service_alive(void);

#endif

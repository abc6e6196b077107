#include "server/service.h"

#include <inttypes.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "common/clock.h"
#include "common/log.h"

/* What is not heard there changes nothing here. */
static void told(int result)
{
    if (result < 0)
        log_warn("cannot tell the service manager: %s", strerror(-result));
}

void service_ready(const char *where)
{
    if (where != NULL)
        told(sd_notifyf(0, "READY=1\nSTATUS=Serving FastAGI on %s", where));
    else
        told(sd_notify(0, "READY=1\nSTATUS=A witness, which takes no calls"));
}

void service_reloading(void)
{
    told(sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_mono_us()));
}

void service_stopping(void)
{
    told(sd_notify(
        0, "STOPPING=1\nSTATUS=Taking no more calls; those here go on to their end"));
}

uint64_t service_watchdog_ms(void)
{
    uint64_t us = 0;
    int result = sd_watchdog_enabled(0, &us);

    if (result < 0)
        log_warn("WATCHDOG_USEC is not what systemd sets: %s", strerror(-result));
    return result > 0 ? us / 1000 : 0;
}

void service_alive(void)
{
    told(sd_notify(0, "WATCHDOG=1"));
}

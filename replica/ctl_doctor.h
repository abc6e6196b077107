/* replica/ctl_doctor.h: what tallyctl doctor looks at: each check says one line, or none where it cannot tell. */
#ifndef REPLICA_CTL_DOCTOR_H
#define REPLICA_CTL_DOCTOR_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/conf.h"
#include "replica/ctl.h"
#include "replica/ctl_processes.h"

struct doctor {
    struct ctl *ctl;
    const struct conf *conf; /* NULL: only the state directory is known */
    struct processes processes;
    json_t *lines; /* {"check", "ok", "what", "do"} */
    bool ill;
};

/* remedy: what to change; NULL: nothing, all is well. */
void doctor_say(struct doctor *d, const char *check, const char *remedy,
                const char *format, ...) __attribute__((format(printf, 4, 5)));

/* ctl_doctor_disk.c: of the state directory, which is the working directory. */
void doctor_directory(struct doctor *d);
void doctor_key(struct doctor *d);
void doctor_room(struct doctor *d);
void doctor_sync(struct doctor *d);
/* ctl_doctor_host.c */
void doctor_clock(struct doctor *d);
void doctor_descriptors(struct doctor *d);
void doctor_ports(struct doctor *d);
/* ctl_doctor_sounds.c: those that scripts play, where Asterisk is on this machine. */
void doctor_sounds(struct doctor *d);

#endif

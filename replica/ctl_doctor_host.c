#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timex.h>
#include <unistd.h>

#include "replica/ctl_doctor.h"

/* ---- the clock ---- */

void doctor_clock(struct doctor *d)
{
    struct timex now = {.modes = 0};
    int state = adjtimex(&now);

    if (state < 0)
        return;
    if (state == TIME_ERROR || (now.status & STA_UNSYNC) != 0)
        doctor_say(d, "clock",
                   "run chrony or systemd-timesyncd: the log's times are this clock's",
                   "the kernel says that nothing keeps it right");
    else
        doctor_say(d, "clock", NULL, "kept right, to within some %ld ms",
                   now.esterror / 1000 + 1);
}

/* ---- descriptors ---- */

/* The soft limit of a process; 0 where it cannot be read. */
static uint64_t limit_of(pid_t pid)
{
    char path[64], line[256];
    uint64_t soft = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/limits", (int)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return 0;
    while (soft == 0 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "Max open files", 14) == 0)
            soft = strtoull(line + 14, NULL, 10);
    fclose(file);
    return soft;
}

void doctor_descriptors(struct doctor *d)
{
    enum { BESIDE_CALLS = 96 }; /* as tallyd reckons */
    struct rlimit own;
    uint64_t limit = d->processes.worker > 0 ? limit_of(d->processes.worker) : 0;
    uint64_t wanted;

    if (d->conf == NULL)
        return;
    wanted = (uint64_t)d->conf->calls + BESIDE_CALLS;
    if (limit == 0 && getrlimit(RLIMIT_NOFILE, &own) == 0)
        limit = own.rlim_max;
    doctor_say(d, "descriptors",
               limit < wanted ? "raise LimitNOFILE= (systemd) or ulimit -Hn, or lower "
                                "calls in [fastagi]"
                              : NULL,
               "%" PRIu64 " a worker, and %" PRIu64 " are needed for calls = %u", limit,
               wanted, d->conf->calls);
}

/* ---- ports ---- */

/* A listening socket at this port, by its inode; the first one that is ours, else any. 0: nobody listens. */
struct listener {
    uint16_t port;
    uint64_t inode;
    bool ours;
};

static bool has_socket(pid_t pid, uint64_t inode)
{
    char folder[64], path[384], link[64], wanted[64];
    struct dirent *entry;
    bool found = false;
    DIR *fds;

    snprintf(folder, sizeof folder, "/proc/%d/fd", (int)pid);
    snprintf(wanted, sizeof wanted, "socket:[%" PRIu64 "]", inode);
    fds = pid > 0 ? opendir(folder) : NULL;
    while (fds != NULL && !found && (entry = readdir(fds)) != NULL) {
        ssize_t len;

        snprintf(path, sizeof path, "%s/%.255s", folder, entry->d_name);
        len = readlink(path, link, sizeof link - 1);
        link[len > 0 ? len : 0] = '\0';
        found = strcmp(link, wanted) == 0;
    }
    if (fds != NULL)
        closedir(fds);
    return found;
}

static void see_table(const struct doctor *d, const char *path, struct listener *l)
{
    FILE *file = fopen(path, "re");
    char line[512];

    while (file != NULL && !l->ours && fgets(line, sizeof line, file) != NULL) {
        unsigned port, state;
        uint64_t inode;

        /* "sl: address:port remote state queues timer retransmits uid timeout inode" */
        if (sscanf(line, " %*u: %*[0-9A-F]:%x %*s %x %*s %*s %*s %*u %*u %" SCNu64, &port,
                   &state, &inode) != 3 ||
            port != l->port || state != 0x0a)
            continue;
        l->inode = inode;
        l->ours = has_socket(d->processes.master, inode) ||
                  has_socket(d->processes.state, inode);
    }
    if (file != NULL)
        fclose(file);
}

/* Of a node that runs. */
static void see_port(struct doctor *d, const char *what, const char *text, uint16_t port)
{
    struct listener l = {.port = port};

    see_table(d, "/proc/net/tcp", &l);
    see_table(d, "/proc/net/tcp6", &l);
    if (l.ours)
        doctor_say(d, "port", NULL, "%s: %s is this node's", what, text);
    else if (l.inode == 0)
        doctor_say(d, "port",
                   "see tallyd's log; a changed tally.conf takes SIGHUP or a "
                   "restart",
                   "%s: nobody listens on %s", what, text);
    else if (geteuid() == 0)
        doctor_say(d, "port", "ss -ltnp tells who; end that, or take another port",
                   "%s: somebody else listens on %s", what, text);
    else
        doctor_say(d, "port", NULL, "%s: somebody listens on %s; root can tell who", what,
                   text);
}

/* Of a node that does not: could it? */
static void try_port(struct doctor *d, const struct conf_listen *place)
{
    int on = 1;
    int fd = socket(place->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&place->addr, place->len) == 0 &&
        listen(fd, 1) == 0)
        doctor_say(d, "port", NULL, "FastAGI: %s is free", place->text);
    else if (errno == EADDRINUSE)
        doctor_say(d, "port", "ss -ltnp tells who; end that, or take another port",
                   "FastAGI: somebody listens on %s, and this node does not run",
                   place->text);
    else
        doctor_say(d, "port",
                   "correct listen in [fastagi], or give the machine the address",
                   "FastAGI: cannot listen on %s: %s", place->text, strerror(errno));
    close(fd);
}

static uint16_t port_of(const struct conf_listen *listen)
{
    const struct sockaddr_storage *addr = &listen->addr;

    return ntohs(addr->ss_family == AF_INET6
                     ? ((const struct sockaddr_in6 *)addr)->sin6_port
                     : ((const struct sockaddr_in *)addr)->sin_port);
}

void doctor_ports(struct doctor *d)
{
    const struct conf *conf = d->conf;
    bool running = d->ctl->node.running;

    if (conf == NULL)
        return;
    for (size_t i = 0; i < conf->listen_count && conf->workers > 0; i++)
        if (running && (conf->listen[i].line > 0 || i == 0))
            see_port(d, "FastAGI", conf->listen[i].text, port_of(&conf->listen[i]));
        else if (!running &&
                 (conf->listen[i].line > 0 || i == 0)) /* ::1 may not be here */
            try_port(d, &conf->listen[i]);
    if (running && conf->peer_listen[0] != '\0')
        see_port(d, "peers", conf->peer_listen,
                 (uint16_t)strtoul(strrchr(conf->peer_listen, ':') + 1, NULL, 10));
}

#include "replica/sockets.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/err.h"

static void each_descriptor(void (*see)(int fd, const void *arg), const void *arg)
{
    DIR *folder = opendir("/proc/self/fd");
    const struct dirent *entry;

    if (folder == NULL) {
        err_errno("list", "/proc/self/fd");
        return;
    }
    while ((entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.')
            see((int)strtol(entry->d_name, NULL, 10), arg);
    closedir(folder);
}

static void map_ipv4(struct in6_addr *addr, const void *ipv4)
{
    *addr = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(addr->s6_addr + 12, ipv4, sizeof(struct in_addr));
}

bool sockets_remote(nng_pipe pipe, struct in6_addr *addr, uint16_t *port)
{
    static const struct in_addr nowhere = {0};
    nng_sockaddr from;

    map_ipv4(addr, &nowhere);
    *port = 0;
    if (nng_pipe_get_addr(pipe, NNG_OPT_REMADDR, &from) != 0)
        return false;
    if (from.s_family == NNG_AF_INET) {
        map_ipv4(addr, &from.s_in.sa_addr);
        *port = ntohs(from.s_in.sa_port);
    } else if (from.s_family == NNG_AF_INET6) {
        memcpy(addr->s6_addr, from.s_in6.sa_addr, sizeof addr->s6_addr);
        *port = ntohs(from.s_in6.sa_port);
    }
    return true;
}

/* ---- one connection ---- */

struct remote {
    struct in6_addr addr;
    uint16_t port;
};

static bool remote_of(int fd, struct remote *remote)
{
    struct sockaddr_storage from;
    const struct sockaddr_in *in = (const struct sockaddr_in *)&from;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&from;
    socklen_t len = sizeof from;

    if (getpeername(fd, (struct sockaddr *)&from, &len) != 0)
        return false;
    if (from.ss_family == AF_INET)
        map_ipv4(&remote->addr, &in->sin_addr);
    else if (from.ss_family == AF_INET6)
        remote->addr = in6->sin6_addr;
    else
        return false;
    remote->port = ntohs(from.ss_family == AF_INET ? in->sin_port : in6->sin6_port);
    return true;
}

static void end_if_it_is(int fd, const void *arg)
{
    const struct remote *wanted = arg;
    struct remote remote;

    if (remote_of(fd, &remote) && remote.port == wanted->port &&
        memcmp(&remote.addr, &wanted->addr, sizeof remote.addr) == 0)
        shutdown(fd, SHUT_RDWR);
}

void sockets_end(nng_pipe pipe)
{
    struct remote remote;

    if (sockets_remote(pipe, &remote.addr, &remote.port))
        each_descriptor(end_if_it_is, &remote);
}

/* ---- all that are stuck ---- */

static bool is_stuck(const struct tcp_info *info)
{
    if (info->tcpi_state == TCP_SYN_SENT)
        return info->tcpi_retransmits >= SOCKETS_DIALS;
    return info->tcpi_state == TCP_ESTABLISHED && info->tcpi_unacked > 0 &&
           info->tcpi_last_ack_recv >= SOCKETS_UNHEARD_MS;
}

static void end_if_stuck(int fd, const void *arg)
{
    struct tcp_info info;
    socklen_t len = sizeof info;

    (void)arg;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && is_stuck(&info))
        shutdown(fd, SHUT_RDWR);
}

void sockets_end_stuck(void)
{
    each_descriptor(end_if_stuck, NULL);
}

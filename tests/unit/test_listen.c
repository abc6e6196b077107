/* The FastAGI sockets: what a new configuration keeps, opens and closes; what accepted
 * ones inherit. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "server/listen.h"

/* An address of loopback whose port the kernel picks, and keeps free for as long as *fd
 * is open and nobody listens on it. */
static struct conf_listen free_address(int *fd)
{
    struct conf_listen at = {.len = sizeof(struct sockaddr_in), .text = "an address"};
    struct sockaddr_in *in = (struct sockaddr_in *)&at.addr;
    const int on = 1;

    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    cr_assert_eq(bind(*fd, (struct sockaddr *)in, at.len), 0);
    cr_assert_eq(getsockname(*fd, (struct sockaddr *)in, &at.len), 0);
    return at;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

Test(listen, an_accepted_connection_has_no_delay_without_being_told)
{
    struct conf conf = {.workers = 1, .listen_count = 1, .backlog = 16};
    int held, client = socket(AF_INET, SOCK_STREAM, 0), accepted, no_delay = 0;
    socklen_t len = sizeof no_delay;
    struct listeners listeners;

    conf.listen[0] = free_address(&held);
    cr_assert_eq(listeners_open(&conf, NULL, 0, &listeners), ERR_OK);
    cr_assert_eq(
        connect(client, (struct sockaddr *)&conf.listen[0].addr, conf.listen[0].len), 0);
    accepted = accept(listeners.fd[0], NULL, NULL);
    cr_assert_geq(accepted, 0);
    cr_assert_eq(getsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &no_delay, &len), 0);
    cr_assert(no_delay);
}

Test(listen, an_address_that_stays_keeps_its_socket_and_the_one_that_goes_is_closed)
{
    struct conf before = {.workers = 1, .listen_count = 2, .backlog = 16};
    struct conf after = {.workers = 1, .listen_count = 2, .backlog = 16};
    struct listeners old, new;
    int held[3];

    before.listen[0] = free_address(&held[0]);
    before.listen[1] = after.listen[0] = free_address(&held[1]);
    after.listen[1] = free_address(&held[2]);
    cr_assert_eq(listeners_open(&before, NULL, 0, &old), ERR_OK);
    cr_assert_eq(listeners_open(&after, &old, 0, &new), ERR_OK);
    cr_assert_eq(new.count, 2);
    cr_assert_eq(new.fd[0], old.fd[1]);
    listeners_close(&old, &new);
    cr_assert_not(is_open(old.fd[0]));
    cr_assert(is_open(old.fd[1]));
}

Test(listen, an_address_in_use_is_an_error_that_leaves_the_old_sockets_open)
{
    struct conf before = {.workers = 1, .listen_count = 1, .backlog = 16};
    struct conf after = {.workers = 1, .listen_count = 2, .backlog = 16};
    struct listeners old, new;
    int held, taken;

    before.listen[0] = after.listen[0] = free_address(&held);
    after.listen[1] = free_address(&taken);
    cr_assert_eq(listen(taken, 1), 0);
    cr_assert_eq(listeners_open(&before, NULL, 0, &old), ERR_OK);
    cr_assert_eq(listeners_open(&after, &old, 0, &new), ERR_IO);
    cr_assert(is_open(old.fd[0]));
}

Test(listen, an_address_named_twice_is_opened_once)
{
    struct conf conf = {.workers = 1, .listen_count = 2, .backlog = 16};
    struct listeners listeners;
    int held;

    conf.listen[0] = conf.listen[1] = free_address(&held);
    cr_assert_eq(listeners_open(&conf, NULL, 0, &listeners), ERR_OK);
    cr_assert_eq(listeners.count, 1);
}

Test(listen, the_text_names_every_address)
{
    struct listeners listeners = {.count = 2};
    char text[100], little[8];

    strcpy(listeners.address[0].text, "127.0.0.1:4573");
    strcpy(listeners.address[1].text, "[::1]:4573");
    listeners_text(&listeners, text, sizeof text);
    cr_assert_str_eq(text, "127.0.0.1:4573, [::1]:4573");
    listeners_text(&listeners, little, sizeof little);
    cr_assert_str_eq(little, "127.0.0");
}

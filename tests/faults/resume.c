/* tests/faults/resume.c: counts in the last stream of a state directory, as the process that wrote it would if a
 * snapshot of its memory were resumed there. No tallyd does that: each start begins a stream of its own. The node must
 * not run, and must have been killed: its log has the stream, and the checkpoint of an orderly end would hide it.
 *
 *   resume STATE COUNTER TIMES   each count stands in a block of its own; prints the numbers, a line each
 *
 * Exit code: 0 all is counted, 1 it is not, 2 usage. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "replica/key.h"
#include "replica/mutant.h"
#include "replica/node.h"

enum { SEGMENT_BYTES = 1024 * 1024 };

static struct msg_count_rep answer;

static void on_reply(void *arg, uint64_t ticket, const struct msg_count_rep *rep)
{
    (void)arg, (void)ticket;
    answer = *rep;
}

static void on_made(void *arg)
{
    (void)arg;
}

static uint64_t wall_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool count(struct node *node, const char *counter)
{
    const struct node_time now = {.mono_ms = 1, .wall_ms = wall_ms()};
    struct msg_count_req req = {.amount = 1, .name_len = (uint8_t)strlen(counter)};

    randombytes_buf(&req.id, sizeof req.id);
    memcpy(req.name, counter, req.name_len);
    req.heard = node_position(node);
    answer = (struct msg_count_rep){.status = STATUS_UNKNOWN};
    if (node_count(node, &req, 0, now) != ERR_OK || node_commit(node, now) != ERR_OK ||
        !status_has_number(answer.status))
        return false;
    printf("%lld\n", (long long)answer.number);
    return true;
}

/* Does this run go on with what its disk knows as its last stream? */
static bool goes_on(struct node *node)
{
    const struct position last = node_position(node);
    struct core_figures figures;

    core_figures(node_core(node), &figures);
    return id_equal(&last.stream, &figures.stream) && last.number > 0;
}

static bool count_all(struct disk *disk, const struct key_pair *key, const char *counter,
                      long times)
{
    struct node_config config = {.disk = disk,
                                 .segment_bytes = SEGMENT_BYTES,
                                 .checkpoint_bytes = UINT64_MAX,
                                 .checkpoint_ms = UINT64_MAX,
                                 .reply = on_reply,
                                 .random = randombytes_buf};
    struct node *node;
    bool counted;

    config.core = (struct core_config){.crypto = &crypto_real,
                                       .key = *key,
                                       .items_max = 1000000,
                                       .requests = CORE_REQUESTS};
    if (node_open(&config, (struct node_time){.mono_ms = 1}, &node) != ERR_OK)
        return false;
    counted = goes_on(node);
    while (counted && times-- > 0)
        counted = count(node, counter);
    node_close(node);
    return counted;
}

int main(int argc, char **argv)
{
    struct key_pair key;
    struct disk *disk;
    bool counted;

    if (argc != 4 || strlen(argv[2]) > NAME_MAX_BYTES) {
        fputs("usage: resume STATE COUNTER TIMES\n", stderr);
        return 2;
    }
    mutant_active = MUTANT_resume_stream;
    if (sodium_init() < 0 || chdir(argv[1]) != 0 || key_read(false, &key) != ERR_OK ||
        disk_posix_open("log", NULL, on_made, NULL, &disk) != ERR_OK)
        return 1;
    counted = count_all(disk, &key, argv[2], strtol(argv[3], NULL, 10));
    disk_posix_close(disk);
    return counted ? 0 : 1;
}

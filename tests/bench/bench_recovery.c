/* tests/bench/bench_recovery.c: how fast a node recovers: a log of N counts is made in a
 * folder of its own under build/, then node_open() reads it, checks frames and chain, and
 * applies every count. The best of three runs with a warm page cache, as after a crash of
 * the process.
 *
 *   bench_recovery [--counts N] [--counters N] [--block N]...
 *
 *   --counts N     1000000 unless told otherwise
 *   --counters N   counters they are spread over, 16
 *   --block N      counts in each block; 64 and then 1 unless told otherwise
 * Prints one line of JSON per block size. */
#include <dirent.h>
#include <getopt.h>
#include <inttypes.h>
#include <semaphore.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "replica/node.h"

enum { SEGMENT_BYTES = 16 * 1024 * 1024, BLOCKS_MAX = 8, RUNS = 3 };

static uint64_t counts = 1000 * 1000, counters = 16;
static sem_t made;

static void check(enum err err, const char *what)
{
    if (err == ERR_OK)
        return;
    fprintf(stderr, "bench_recovery: %s: %s\n", what, err_name(err));
    exit(1);
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Recovery does not look at signatures, and a million of them take twenty seconds. */
static void no_sign(uint8_t signature[SIGNATURE_BYTES], const struct hash *hash,
                    const struct key_pair *key)
{
    (void)key;
    for (size_t i = 0; i < SIGNATURE_BYTES; i++)
        signature[i] = hash->byte[i % HASH_BYTES];
}

static struct crypto crypto;

static struct core_config core_config(void)
{
    struct core_config config = {.crypto = &crypto,
                                 .node_name = "bench",
                                 .items_max = SIZE_MAX,
                                 .requests = CORE_REQUESTS};

    randombytes_buf(&config.cluster, sizeof config.cluster);
    randombytes_buf(&config.stream, sizeof config.stream);
    return config;
}

/* ---- making the log ---- */

static void notify(void *arg)
{
    (void)arg;
    sem_post(&made);
}

static void ignore_reply(void *arg, uint64_t ticket, const struct msg_count_rep *rep)
{
    (void)arg;
    (void)ticket;
    (void)rep;
}

static enum err ignore_frame(void *arg, const struct wal_frame *frame)
{
    (void)arg;
    (void)frame;
    return ERR_OK;
}

static void make_segment(struct disk *disk, struct wal *wal)
{
    struct disk_make make;

    if (!wal_wants_segment(wal, &make))
        return;
    check(disk->ops->make(disk, &make), "make a segment");
    sem_wait(&made);
    check(disk->ops->made(disk), "make a segment");
    check(wal_segment_made(wal), "make a segment");
}

static void count_one(struct core *core)
{
    struct msg_count_req req = {.amount = 1, .heard = core_position(core)};
    struct msg_count_rep rep;

    randombytes_buf(&req.id, sizeof req.id);
    req.name_len = (uint8_t)snprintf(req.name, sizeof req.name, "counter-%u",
                                     randombytes_uniform((uint32_t)counters));
    if (core_count(core, &req, 0, BLOCK_MAX, &rep) != CORE_WAITS)
        check(ERR_REFUSED, "count");
}

static void make_log(struct disk *disk, uint64_t per_block)
{
    struct core_config config = core_config();
    struct core *core = core_new(&config);
    struct wal *wal;

    if (core == NULL)
        check(ERR_MEMORY, "make the log");
    check(wal_open(disk, SEGMENT_BYTES, NULL, ignore_frame, NULL, &wal), "open the log");
    for (uint64_t done = 0; done < counts;) {
        const uint8_t *bytes;
        size_t len;

        for (uint64_t i = 0; i < per_block && done < counts; i++, done++)
            count_one(core);
        make_segment(disk, wal);
        check(core_seal(core, 1700000000000, &bytes, &len), "seal");
        check(wal_append(wal, bytes, len), "append");
        check(core_written(core, ignore_reply, NULL), "apply");
    }
    check(wal_sync(wal), "sync");
    wal_close(wal);
    core_free(core);
}

/* ---- measuring ---- */

static double recover(struct disk *disk, uint64_t *bytes)
{
    struct node_config config = {.disk = disk,
                                 .core = core_config(),
                                 .segment_bytes = SEGMENT_BYTES,
                                 .checkpoint_bytes = UINT64_MAX,
                                 .checkpoint_ms = UINT64_MAX,
                                 .reply = ignore_reply};
    struct node_figures figures;
    double start = seconds(), took;
    struct node *node;

    check(node_open(&config, (struct node_time){1, 1}, &node), "recover");
    took = seconds() - start;
    node_figures(node, &figures);
    if (figures.core.ops != counts)
        check(ERR_CORRUPT, "recover: counts are missing");
    *bytes = figures.end.lsn;
    node_close(node);
    return took;
}

static void remove_folder(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL)
        closedir(dir);
    rmdir(path);
}

static void bench(uint64_t per_block)
{
    char path[] = "build/bench-recovery.XXXXXX";
    double best = 0;
    struct disk *disk;
    uint64_t bytes = 0;

    mkdir("build", 0777);
    if (mkdtemp(path) == NULL)
        check(err_errno("make", path), "make a folder");
    check(disk_posix_open(path, NULL, notify, NULL, &disk), "open the folder");
    make_log(disk, per_block);
    for (int i = 0; i < RUNS; i++) {
        double took = recover(disk, &bytes);

        best = i == 0 || took < best ? took : best;
    }
    disk_posix_close(disk);
    remove_folder(path);
    printf("{\"counts\": %" PRIu64 ", \"block\": %" PRIu64
           ", \"seconds\": %.4f, \"rate\": %.0f, \"bytes\": %" PRIu64 "}\n",
           counts, per_block, best, (double)counts / best, bytes);
    fflush(stdout);
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);

    if (*end == '\0' && n > 0)
        return n;
    fprintf(stderr, "bench_recovery: %s is no number above 0\n", text);
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"counts", required_argument, NULL, 'n'},
                                            {"counters", required_argument, NULL, 'c'},
                                            {"block", required_argument, NULL, 'b'},
                                            {NULL, 0, NULL, 0}};
    uint64_t blocks[BLOCKS_MAX] = {64, 1};
    size_t given = 0;
    int option;

    log_init("bench", LOG_LEVEL_WARN);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'n')
            counts = number(optarg);
        else if (option == 'c')
            counters = number(optarg);
        else if (option == 'b' && given < BLOCKS_MAX)
            blocks[given++] = number(optarg);
        else
            return 2;
    }
    if (sodium_init() < 0 || sem_init(&made, 0, 0) != 0)
        return 1;
    crypto = crypto_real;
    crypto.sign = no_sign;
    for (size_t i = 0; i < (given > 0 ? given : 2); i++)
        bench(blocks[i]);
    return 0;
}

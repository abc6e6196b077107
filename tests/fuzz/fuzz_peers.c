/* tests/fuzz/fuzz_peers.c: a node of a cluster, and a peer that has its key and says anything. The input is what
 * happens, each a byte for what, a u16 length and so many bytes:
 *   1 to 15  a message of that type, sealed by the peer: HELLO, HAVE, BLOCKS, CHECKPOINT, WANT, and none
 *   16       the bytes as they are, as from anybody
 *   17       time passes: 64 ms for each byte
 *   18       the node counts: the bytes are the counter's name
 *   19       it makes a checkpoint
 *   20       it crashes, and starts again
 * Nothing of it is an error of the node's. Afterwards it still counts; its log is whole; and it comes back from its
 * disk with the state that it had. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "replica/pace.h"
#include "replica/peers.h"
#include "replica/verify.h"
#include "tests/fuzz/quiet.h"
#include "tests/fuzz/weak_crypto.h"
#include "tests/lib/history.h"
#include "tests/lib/memory_disk.h"

enum { OWN = 1, PEER = 2, OTHER = 3, JOIN_WAIT_MS = 1000, EVENTS_MAX = 64 };

enum event {
    EVENT_MESSAGE_MAX = 15,
    EVENT_RAW = 16,
    EVENT_TIME = 17,
    EVENT_COUNT = 18,
    EVENT_CHECKPOINT = 19,
    EVENT_CRASH = 20,
};

struct scene {
    struct disk *disk;
    struct node *node;
    struct peers *peers;
    struct link *link; /* the peer's end */
    uint64_t now_ms, next_ms;
    uint8_t drawn; /* ids only have to differ, and to be the same in every run */
    uint64_t asked, answered;
};

static struct scene scene;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_hold(bool holds, const char *what, int line)
{
    if (holds)
        return;
    fprintf(stderr, "line %d: %s does not hold\n", line, what);
    abort();
}
#define must(what) must_hold(what, #what, __LINE__)

static void draw(void *to, size_t len)
{
    memset(to, ++scene.drawn, len);
}

static struct node_time now(void)
{
    return (struct node_time){.mono_ms = scene.now_ms, .wall_ms = scene.now_ms};
}

static void on_reply(void *arg, uint64_t ticket, const struct msg_count_rep *rep)
{
    (void)arg;
    (void)ticket;
    (void)rep;
    scene.answered++;
}

/* What the node says the peer hears, and answers a greeting. */
static void on_send(void *arg, size_t peer, const uint8_t *bytes, size_t len)
{
    static uint8_t copy[LINK_MESSAGE_MAX];
    struct link_message message;
    struct id fresh;

    (void)arg;
    must(len <= sizeof copy);
    if (peer != 0)
        return;
    memcpy(copy, bytes, len);
    draw(&fresh, sizeof fresh);
    link_open(scene.link, copy, len, &fresh, scene.now_ms, &message);
}

static void settle(void)
{
    uint64_t next_ms;

    must(node_commit(scene.node, now()) == ERR_OK);
    must(node_maintain(scene.node, now(), &next_ms) == ERR_OK);
    peers_turn(scene.peers, scene.now_ms, &scene.next_ms);
}

static void hear(uint8_t *bytes, size_t len)
{
    enum peers_sender sender;

    must(peers_receive(scene.peers, bytes, len, scene.now_ms, &sender) == ERR_OK);
    settle();
}

/* A greeting is answered, at most one in a millisecond. */
static void greet(void)
{
    uint8_t sealed[LINK_OVERHEAD + LINK_HELLO_BYTES];

    for (unsigned i = 0; i < 8 && link_wants_hello(scene.link); i++) {
        scene.now_ms++;
        hear(sealed, link_seal_hello(scene.link, sealed));
        scene.now_ms++;
        settle();
    }
}

static void pass(uint64_t ms)
{
    for (uint64_t end = scene.now_ms + ms; scene.now_ms < end;) {
        scene.now_ms += 64;
        settle();
        greet();
    }
}

static void say(uint8_t type, const uint8_t *payload, size_t len)
{
    static uint8_t sealed[LINK_MESSAGE_MAX];

    if (type == LINK_HELLO || link_up(scene.link))
        hear(sealed, link_seal(scene.link, type, payload, len, sealed));
    greet();
}

static void raw(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len + 1);

    must(copy != NULL);
    memcpy(copy, bytes, len);
    hear(copy, len);
    free(copy);
}

static void count(const uint8_t *name, size_t len)
{
    struct msg_count_req req = history_req(++scene.asked, "", 1);

    req.name_len = (uint8_t)(len < NAME_MAX_BYTES ? len : NAME_MAX_BYTES);
    memcpy(req.name, name, req.name_len);
    req.heard = node_position(scene.node);
    must(node_count(scene.node, &req, 0, now()) == ERR_OK);
    settle();
    must(scene.answered == scene.asked);
}

/* ---- the node ---- */

static void start(void)
{
    struct node_config config = {.disk = scene.disk,
                                 .core = history_config(OWN, 0),
                                 .segment_bytes = WAL_SEGMENT_MIN,
                                 .checkpoint_bytes = WAL_SEGMENT_MIN,
                                 .checkpoint_ms = 60000,
                                 .reply = on_reply,
                                 .random = draw};
    struct peers_config peers = {.crypto = &weak_crypto,
                                 .join_wait_ms = JOIN_WAIT_MS,
                                 .send = on_send,
                                 .random = draw};
    struct peer_config list[] = {{.name = "peer"}, {.name = "other"}};
    size_t bad;

    config.core.crypto = &weak_crypto;
    draw(&config.core.stream, sizeof config.core.stream);
    peers.key = config.core.key;
    list[0].key = history_key(PEER).public;
    list[1].key = history_key(OTHER).public;
    must(node_open(&config, now(), &scene.node) == ERR_OK);
    peers.node = scene.node;
    scene.peers = peers_new(&peers);
    must(scene.peers != NULL);
    must(peers_set(scene.peers, list, 2, &bad) == ERR_OK);
    settle();
    greet();
}

static void stop(void)
{
    peers_free(scene.peers);
    node_close(scene.node);
}

static void crash(void)
{
    stop();
    memory_disk_crash(scene.disk);
    start();
}

static void open_scene(void)
{
    struct key_pair key = history_key(PEER);
    struct public_key node = history_key(OWN).public;
    struct id run, challenge;

    scene = (struct scene){.disk = memory_disk_new(), .now_ms = 1000};
    draw(&run, sizeof run);
    draw(&challenge, sizeof challenge);
    scene.link = link_new(&weak_crypto, &key, &node, &run, &challenge);
    must(scene.link != NULL);
    start();
}

static void close_scene(void)
{
    stop();
    link_free(scene.link);
    memory_disk_free(scene.disk);
}

/* ---- what holds ---- */

static struct writer state_of(void)
{
    size_t max = core_encoded_max(node_core(scene.node));
    struct writer w = writer_of(malloc(max), max);

    must(w.start != NULL);
    core_encode_state(node_core(scene.node), &w);
    must(!w.full);
    return w;
}

static void comes_back(void)
{
    struct writer before = state_of(), after;

    crash();
    after = state_of();
    must(after.len == before.len && memcmp(after.start, before.start, after.len) == 0);
    free(before.start);
    free(after.start);
}

static void log_is_whole(void)
{
    struct public_key own = history_key(OWN).public;
    struct verify_report report;

    if (verify_log(scene.disk, &weak_crypto, &own, UINT64_MAX, &report) != ERR_OK) {
        fprintf(stderr, "%s: %s\n", report.file, report.reason);
        abort();
    }
}

static void still_well(void)
{
    pass(JOIN_WAIT_MS + PACE_LOST_MS);
    must(core_is_open(node_core(scene.node)));
    count((const uint8_t *)"hits", 4);
    log_is_whole();
    comes_back();
}

static void happen(uint8_t what, const uint8_t *bytes, size_t len)
{
    if (what >= LINK_HELLO && what <= EVENT_MESSAGE_MAX)
        say(what, bytes, len);
    else if (what == EVENT_RAW)
        raw(bytes, len);
    else if (what == EVENT_TIME)
        pass(64 * len);
    else if (what == EVENT_COUNT)
        count(bytes, len);
    else if (what == EVENT_CHECKPOINT)
        node_want_checkpoint(scene.node);
    else if (what == EVENT_CRASH)
        crash();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_of(data, size);

    must(sodium_init() >= 0);
    open_scene();
    for (unsigned i = 0; i < EVENTS_MAX && !r.bad; i++) {
        uint8_t what = read_u8(&r);
        size_t wanted = read_u16(&r), len = wanted < r.left ? wanted : r.left;
        const uint8_t *bytes = read_bytes(&r, len);

        if (!r.bad)
            happen(what, bytes, len);
    }
    still_well();
    close_scene();
    return 0;
}

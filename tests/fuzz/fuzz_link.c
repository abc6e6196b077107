/* tests/fuzz/fuzz_link.c: two nodes that greet each other, and somebody between them who keeps, changes, repeats and turns
 * back what they send. The input is what happens, each a byte for what, and its operands:
 *   0  the one greets the other        1  and the other way round
 *   2  the one says: u8 type, u8 length, so many bytes; the greetings of its own making included
 *   3  one of the kept messages comes again, to whom it was meant for: u8 which
 *   4  with a byte changed: u8 which, u16 where, u8 by what
 *   5  cut to a length: u8 which, u16 length
 *   6  it comes back to who has sent it: u8 which
 *   7  bytes that begin with the one's name: u8 length, so many bytes
 *   8  the one is started again        9  nothing was heard for long
 * What the other takes was sealed by the one for it, as it is, and is taken once. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "common/byte.h"
#include "replica/link.h"
#include "tests/lib/history.h"

enum { ONE = 0, OTHER = 1, KEPT_MAX = 32, EVENTS_MAX = 64, SAID_MAX = 255 };

struct kept {
    size_t from, len;
    bool taken;
    uint8_t bytes[LINK_OVERHEAD + SAID_MAX];
};

static struct scene {
    struct link *link[2];
    struct kept kept[KEPT_MAX];
    size_t count;
    uint64_t drawn, now_ms;
} scene;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void start(size_t who)
{
    struct key_pair key = history_key((uint8_t)(who + 1));
    struct public_key peer = history_key((uint8_t)(2 - who)).public;
    struct id run = history_id(++scene.drawn), challenge = history_id(++scene.drawn);

    if (scene.link[who] != NULL)
        link_free(scene.link[who]);
    scene.link[who] = link_new(&crypto_real, &key, &peer, &run, &challenge);
    must(scene.link[who] != NULL);
}

/* whole: the bytes are those of this message. */
static void hear(size_t who, struct kept *kept, const uint8_t *bytes, size_t len,
                 bool whole)
{
    struct id fresh = history_id(++scene.drawn);
    struct link_message message;
    uint8_t *copy = malloc(len + 1);
    enum link_verdict verdict;

    must(copy != NULL);
    if (len > 0)
        memcpy(copy, bytes, len);
    scene.now_ms += 100;
    verdict = link_open(scene.link[who], copy, len, &fresh, scene.now_ms, &message);
    must(whole || verdict == LINK_FORGED);
    if (verdict == LINK_TAKEN) {
        must(kept->from != who && !kept->taken);
        must(message.type != LINK_HELLO && message.len == len - LINK_OVERHEAD &&
             message.payload + message.len == copy + len);
        kept->taken = true;
    }
    free(copy);
}

static struct kept *keep(size_t from)
{
    struct kept *kept = &scene.kept[scene.count++ % KEPT_MAX];

    *kept = (struct kept){.from = from};
    return kept;
}

static void send(struct kept *kept)
{
    hear(1 - kept->from, kept, kept->bytes, kept->len, true);
}

static void greet(size_t from)
{
    struct kept *kept = keep(from);

    kept->len = link_seal_hello(scene.link[from], kept->bytes);
    send(kept);
}

static void say(struct reader *r)
{
    uint8_t type = read_u8(r), len = read_u8(r);
    const uint8_t *bytes = read_bytes(r, len);
    struct kept *kept;

    if (r->bad || (type != LINK_HELLO && !link_up(scene.link[ONE])))
        return;
    kept = keep(ONE);
    kept->len = link_seal(scene.link[ONE], type, bytes, len, kept->bytes);
    send(kept);
}

static struct kept *choose(struct reader *r)
{
    uint8_t which = read_u8(r);
    size_t count = scene.count < KEPT_MAX ? scene.count : KEPT_MAX;

    return count == 0 ? NULL : &scene.kept[which % count];
}

static void change(struct reader *r)
{
    struct kept *kept = choose(r), changed;
    size_t where = read_u16(r);
    uint8_t by = read_u8(r);

    if (kept == NULL || by == 0)
        return;
    changed = *kept;
    changed.bytes[where % kept->len] ^= by;
    hear(1 - kept->from, kept, changed.bytes, kept->len, false);
}

static void cut(struct reader *r)
{
    struct kept *kept = choose(r);
    size_t len = read_u16(r);

    if (kept != NULL && len < kept->len)
        hear(1 - kept->from, kept, kept->bytes, len, false);
}

static void again(struct reader *r)
{
    struct kept *kept = choose(r);

    if (kept != NULL)
        send(kept);
}

static void turn_back(struct reader *r)
{
    struct kept *kept = choose(r), turned;

    if (kept == NULL)
        return;
    turned = *kept;
    memcpy(turned.bytes, history_key((uint8_t)(2 - kept->from)).public.byte,
           LINK_HINT_BYTES);
    hear(kept->from, kept, turned.bytes, turned.len, false);
}

static void make_up(struct reader *r)
{
    uint8_t made[LINK_HINT_BYTES + 255], len = read_u8(r);
    const uint8_t *bytes = read_bytes(r, len);

    if (r->bad)
        return;
    memcpy(made, history_key(1).public.byte, LINK_HINT_BYTES);
    if (len > 0)
        memcpy(made + LINK_HINT_BYTES, bytes, len);
    hear(OTHER, NULL, made, LINK_HINT_BYTES + (size_t)len, false);
}

static void happen(uint8_t what, struct reader *r)
{
    switch (what % 10) {
    case 0:
    case 1:
        greet(what % 10);
        break;
    case 2:
        say(r);
        break;
    case 3:
        again(r);
        break;
    case 4:
        change(r);
        break;
    case 5:
        cut(r);
        break;
    case 6:
        turn_back(r);
        break;
    case 7:
        make_up(r);
        break;
    case 8:
        start(ONE);
        break;
    default:
        link_down(scene.link[OTHER]);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_of(data, size);

    must(sodium_init() >= 0);
    scene = (struct scene){.now_ms = 1000};
    start(ONE);
    start(OTHER);
    for (unsigned i = 0; i < EVENTS_MAX && r.left > 0 && !r.bad; i++)
        happen(read_u8(&r), &r);
    link_free(scene.link[ONE]);
    link_free(scene.link[OTHER]);
    return 0;
}

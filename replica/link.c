#include "replica/link.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "common/byte.h"
#include "replica/mutant.h"
#include "replica/rivals.h"

static_assert((int)LINK_NONCE_BYTES == (int)BOX_NONCE_BYTES, "a run and a number");
static_assert((int)LINK_OVERHEAD == LINK_HINT_BYTES + LINK_NONCE_BYTES + BOX_OVERHEAD +
                                        PUBLIC_KEY_BYTES + 1 + ID_BYTES,
              "the sum of its fields");

struct link {
    const struct crypto *crypto;
    struct public_key own, peer;
    uint8_t box_key[BOX_KEY_BYTES];
    struct id run;       /* ours */
    uint64_t number;     /* of our last message */
    struct id challenge; /* ours: what the peer has to echo */
    uint64_t runs; /* of the peer that were adopted; above 0 the next three are known */
    struct id peer_run;
    uint64_t peer_number;     /* of its last message taken */
    struct id peer_challenge; /* what we echo to the present run */
    struct id echo,
        echo_run; /* what the next HELLO echoes, and whose: maybe not the present run's */
    bool wants_hello, up;
    struct rivals rivals;
};

struct link *link_new(const struct crypto *crypto, const struct key_pair *own,
                      const struct public_key *peer, const struct id *run,
                      const struct id *challenge)
{
    struct link *link = calloc(1, sizeof *link);

    if (link == NULL)
        return NULL;
    link->crypto = crypto;
    link->own = own->public;
    link->peer = *peer;
    link->run = *run;
    link->challenge = *challenge;
    link->wants_hello = true;
    if (!crypto->box_key(link->box_key, own, peer)) {
        link_free(link);
        return NULL;
    }
    return link;
}

void link_free(struct link *link)
{
    sodium_memzero(link, sizeof *link);
    free(link);
}

bool link_is_for(const struct link *link, const uint8_t *bytes, size_t len)
{
    return len >= LINK_HINT_BYTES && memcmp(bytes, link->peer.byte, LINK_HINT_BYTES) == 0;
}

/* ---- sealing ---- */

size_t link_seal(struct link *link, uint8_t type, const void *payload, size_t len,
                 uint8_t *out)
{
    uint8_t *nonce = out + LINK_HINT_BYTES, *box = nonce + LINK_NONCE_BYTES;
    uint8_t *plain = box + BOX_OVERHEAD;
    size_t plain_len = PUBLIC_KEY_BYTES + 1 + ID_BYTES + len;
    struct writer w = writer_of(nonce, LINK_NONCE_BYTES);

    assert(len <= LINK_PAYLOAD_MAX && (link->up || type == LINK_HELLO));
    memcpy(out, link->own.byte, LINK_HINT_BYTES);
    write_bytes(&w, link->run.byte, ID_BYTES);
    write_u64(&w, ++link->number);
    w = writer_of(plain, plain_len);
    write_bytes(&w, link->own.byte, PUBLIC_KEY_BYTES);
    write_u8(&w, type);
    write_bytes(&w, type == LINK_HELLO ? link->echo.byte : link->peer_challenge.byte,
                ID_BYTES);
    write_bytes(&w, payload, len);
    link->crypto->box_seal(box, plain_len, nonce, link->box_key);
    return LINK_OVERHEAD + len;
}

size_t link_seal_hello(struct link *link, uint8_t out[LINK_OVERHEAD + LINK_HELLO_BYTES])
{
    uint8_t payload[LINK_HELLO_BYTES];

    memcpy(payload, link->challenge.byte, ID_BYTES);
    payload[ID_BYTES] = link->runs > 0 && id_equal(&link->echo_run, &link->peer_run);
    link->wants_hello = false;
    return link_seal(link, LINK_HELLO, payload, sizeof payload, out);
}

/* ---- opening ---- */

struct opened {
    struct id run, echo;
    uint64_t number;
    struct link_message message;
};

static bool open_box(const struct link *link, uint8_t *bytes, size_t len,
                     struct opened *o)
{
    const uint8_t *nonce = bytes + LINK_HINT_BYTES, *sender;
    uint8_t *box = bytes + LINK_HINT_BYTES + LINK_NONCE_BYTES;
    struct reader r = reader_of(nonce, LINK_NONCE_BYTES);
    size_t plain_len;

    if (len < LINK_OVERHEAD || len > LINK_MESSAGE_MAX || !link_is_for(link, bytes, len))
        return false;
    plain_len = len - LINK_HINT_BYTES - LINK_NONCE_BYTES - BOX_OVERHEAD;
    read_copy(&r, o->run.byte, ID_BYTES);
    o->number = read_u64(&r);
    if (!link->crypto->box_open(box, plain_len, nonce, link->box_key))
        return false;
    r = reader_of(box + BOX_OVERHEAD, plain_len);
    sender = read_bytes(&r, PUBLIC_KEY_BYTES);
    o->message.type = read_u8(&r);
    read_copy(&r, o->echo.byte, ID_BYTES);
    o->message.payload = r.at;
    o->message.len = r.left;
    /* What we sealed ourselves opens too: the box key is one for both ways. */
    return memcmp(sender, link->peer.byte, PUBLIC_KEY_BYTES) == 0;
}

static void adopt(struct link *link, const struct opened *o, const struct id *fresh)
{
    link->runs++;
    link->peer_run = o->run;
    link->challenge =
        *fresh; /* What the run before has heard is worth nothing any more. */
}

static enum link_verdict hello(struct link *link, const struct opened *o,
                               const struct id *fresh, uint64_t now_ms)
{
    bool proven = id_equal(&o->echo, &link->challenge);
    bool present = link->runs > 0 && id_equal(&o->run, &link->peer_run);
    bool adopted_us;

    if (o->message.len != LINK_HELLO_BYTES)
        return LINK_FORGED;
    if (present && o->number <= link->peer_number)
        return LINK_STALE;
    if (!rivals_heard(&link->rivals, &o->run, o->number, now_ms))
        return LINK_STALE;
    /* Whoever asks is told our challenge, so that he can prove himself, and his own, so that we do. */
    memcpy(link->echo.byte, o->message.payload, ID_BYTES);
    link->echo_run = o->run;
    adopted_us = o->message.payload[ID_BYTES] == 1;
    if (present)
        link->peer_number = o->number;
    if (!proven) {
        link->wants_hello = true;
        return present || !link->up ? LINK_GREETED : LINK_OLD;
    }
    if (!present) {
        adopt(link, o, fresh);
        rivals_proven(&link->rivals, now_ms);
        link->peer_number = o->number;
        link->wants_hello = true;
    }
    link->peer_challenge = link->echo;
    link->wants_hello = link->wants_hello || !adopted_us;
    link->up = adopted_us;
    return LINK_GREETED;
}

enum link_verdict link_open(struct link *link, uint8_t *bytes, size_t len,
                            const struct id *fresh, uint64_t now_ms,
                            struct link_message *message)
{
    struct opened o;

    if (!open_box(link, bytes, len, &o))
        return LINK_FORGED;
    if (o.message.type == LINK_HELLO)
        return hello(link, &o, fresh, now_ms);
    if (link->runs == 0 || (!id_equal(&o.run, &link->peer_run) && !MUTANT(skip_run)) ||
        (o.number <= link->peer_number && !MUTANT(accept_stale)))
        return LINK_STALE;
    if (!id_equal(&o.echo, &link->challenge) && !MUTANT(skip_run)) {
        link->wants_hello = true; /* Ours, with the challenge drawn last, was lost. */
        return LINK_STALE;
    }
    rivals_heard(&link->rivals, &o.run, o.number, now_ms);
    link->peer_number = o.number;
    link->up = true; /* Only whoever knows us sends such. */
    *message = o.message;
    return LINK_TAKEN;
}

uint64_t link_runs(const struct link *link)
{
    return link->runs;
}

bool link_wants_hello(const struct link *link)
{
    return link->wants_hello;
}

bool link_up(const struct link *link)
{
    return link->up;
}

bool link_rivals(const struct link *link, uint64_t now_ms)
{
    return rivals_alive(&link->rivals, now_ms);
}

void link_down(struct link *link)
{
    link->up = false;
    link->wants_hello = true;
}

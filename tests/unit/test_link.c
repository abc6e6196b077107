/* tests/unit/test_link.c: two ends of a conversation, and what somebody between them may try. */
#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "replica/link.h"
#include "tests/lib/history.h"

enum { ALICE = 1, BOB = 2, EVE = 3 };

struct wire {
    uint8_t bytes[LINK_OVERHEAD + 64];
    size_t len;
};

static uint64_t now_ms, drawn;

static void begin(void)
{
    cr_assert_geq(sodium_init(), 0);
    now_ms = 1000;
    drawn = 1000;
}

TestSuite(link, .init = begin);

static struct link *end_of(uint8_t own, uint8_t peer, uint64_t run)
{
    struct key_pair key = history_key(own);
    struct public_key other = history_key(peer).public;
    struct id id = history_id(run), challenge = history_id(++drawn);
    struct link *link = link_new(&crypto_real, &key, &other, &id, &challenge);

    cr_assert_not_null(link);
    return link;
}

static struct wire hello(struct link *from)
{
    struct wire wire;

    wire.len = link_seal_hello(from, wire.bytes);
    return wire;
}

static struct wire say(struct link *from, const char *text)
{
    struct wire wire;

    wire.len = link_seal(from, LINK_HAVE, text, strlen(text), wire.bytes);
    return wire;
}

/* A copy is opened: the wire stays as it is, for whoever plays it back. */
static enum link_verdict hear(struct link *to, const struct wire *wire)
{
    struct link_message message;
    struct id fresh = history_id(++drawn);
    struct wire copy = *wire;

    return link_open(to, copy.bytes, copy.len, &fresh, now_ms, &message);
}

/* Greet each other until both are up. */
static void meet(struct link *a, struct link *b)
{
    for (unsigned i = 0; i < 8 && (!link_up(a) || !link_up(b)); i++) {
        struct wire from_a = hello(a), from_b;

        hear(b, &from_a);
        from_b = hello(b);
        hear(a, &from_b);
    }
    cr_assert(link_up(a) && link_up(b));
}

Test(link, two_that_have_greeted_each_other_hear_what_the_other_says)
{
    struct link *a = end_of(ALICE, BOB, 1), *b = end_of(BOB, ALICE, 2);
    struct link_message message;
    struct id fresh = history_id(5);
    struct wire wire;

    meet(a, b);
    wire = say(a, "word");
    cr_assert_eq(link_open(b, wire.bytes, wire.len, &fresh, now_ms, &message),
                 LINK_TAKEN);
    cr_assert_eq(message.type, LINK_HAVE);
    cr_assert(message.len == 4 && memcmp(message.payload, "word", 4) == 0);
    link_free(a);
    link_free(b);
}

Test(link, a_message_counts_once_and_none_that_was_overtaken_counts)
{
    struct link *a = end_of(ALICE, BOB, 1), *b = end_of(BOB, ALICE, 2);
    struct wire first, second;

    meet(a, b);
    first = say(a, "first");
    second = say(a, "second");
    cr_assert_eq(hear(b, &second), LINK_TAKEN);
    cr_assert_eq(hear(b, &second), LINK_STALE);
    cr_assert_eq(hear(b, &first), LINK_STALE);
    link_free(a);
    link_free(b);
}

Test(link, a_message_that_comes_back_to_who_sealed_it_is_not_the_peers)
{
    struct link *a = end_of(ALICE, BOB, 1), *b = end_of(BOB, ALICE, 2);
    struct wire wire;

    meet(a, b);
    wire = say(a, "word");
    cr_assert_eq(hear(a, &wire), LINK_FORGED);
    memcpy(wire.bytes, history_key(BOB).public.byte, LINK_HINT_BYTES);
    cr_assert_eq(hear(a, &wire), LINK_FORGED, "not under the other's name either");
    link_free(a);
    link_free(b);
}

Test(link, every_byte_of_a_message_is_sealed)
{
    struct link *a = end_of(ALICE, BOB, 1), *b = end_of(BOB, ALICE, 2);
    struct wire wire;

    meet(a, b);
    wire = say(a, "word");
    for (size_t i = 0; i < wire.len; i++) {
        wire.bytes[i] ^= 1;
        cr_assert_eq(hear(b, &wire), LINK_FORGED, "byte %zu", i);
        wire.bytes[i] ^= 1;
    }
    for (size_t len = 0; len < wire.len; len++) {
        struct wire cut = wire;

        cut.len = len;
        cr_assert_eq(hear(b, &cut), LINK_FORGED, "%zu bytes of it", len);
    }
    cr_assert_eq(hear(b, &wire), LINK_TAKEN);
    link_free(a);
    link_free(b);
}

Test(link, who_has_another_key_gets_nowhere)
{
    struct link *eve = end_of(EVE, BOB, 1), *b = end_of(BOB, ALICE, 2);
    struct wire wire = hello(eve);

    cr_assert_eq(hear(b, &wire), LINK_FORGED);
    memcpy(wire.bytes, history_key(ALICE).public.byte, LINK_HINT_BYTES);
    cr_assert_eq(hear(b, &wire), LINK_FORGED);
    link_free(eve);
    link_free(b);
}

Test(link, a_whole_conversation_played_back_to_a_new_process_starts_none)
{
    struct link *a = end_of(ALICE, BOB, 1), *b = end_of(BOB, ALICE, 2);
    struct link *again = end_of(BOB, ALICE, 3);
    struct wire recorded[20];
    size_t count = 0;

    for (unsigned i = 0; i < 4; i++) {
        struct wire from_b;

        recorded[count++] = hello(a);
        hear(b, &recorded[count - 1]);
        from_b = hello(b);
        hear(a, &from_b);
    }
    while (count < 20)
        recorded[count++] = say(a, "word");
    for (size_t i = 0; i < count; i++)
        cr_assert_neq(hear(again, &recorded[i]), LINK_TAKEN);
    cr_assert_not(link_up(again));
    link_free(a);
    link_free(b);
    link_free(again);
}

Test(link, a_process_that_was_started_again_takes_the_place_of_the_one_before)
{
    struct link *a = end_of(ALICE, BOB, 1), *b = end_of(BOB, ALICE, 2), *old = a;
    struct wire late;

    meet(a, b);
    late = say(old, "late");
    a = end_of(ALICE, BOB, 3);
    meet(a, b);
    cr_assert_eq(hear(b, &late), LINK_STALE);
    late = say(a, "word");
    cr_assert_eq(hear(b, &late), LINK_TAKEN);
    cr_assert_not(link_rivals(b, now_ms));
    link_free(old);
    link_free(a);
    link_free(b);
}

Test(link, a_copy_that_only_greets_changes_nothing_for_the_present_run_and_is_noticed)
{
    struct link *a = end_of(ALICE, BOB, 1), *b = end_of(BOB, ALICE, 2);
    struct link *copy = end_of(ALICE, BOB, 3);

    meet(a, b);
    for (unsigned i = 0; i < 10; i++, now_ms += 1000) {
        struct wire greeting = hello(copy), word = say(a, "word"), answer;

        cr_assert_eq(hear(b, &greeting), LINK_OLD);
        answer = hello(b); /* It goes to the address of the original. */
        cr_assert_eq(hear(a, &answer), LINK_GREETED);
        cr_assert(link_up(a));
        cr_assert_eq(hear(b, &word), LINK_TAKEN);
    }
    cr_assert(link_rivals(b, now_ms));
    cr_assert_not(link_rivals(a, now_ms));
    link_free(a);
    link_free(b);
    link_free(copy);
}

Test(link, two_copies_that_take_turns_are_noticed_at_once)
{
    struct link *a = end_of(ALICE, BOB, 1), *b = end_of(BOB, ALICE, 2);
    struct link *copy = end_of(ALICE, BOB, 3);

    meet(a, b);
    link_down(b);
    meet(copy, b);
    cr_assert_not(link_rivals(b, now_ms));
    link_down(b);
    link_down(a);
    meet(a, b);
    cr_assert(link_rivals(b, now_ms));
    link_free(a);
    link_free(b);
    link_free(copy);
}

Test(link, a_greeting_of_another_run_that_is_played_back_is_not_answered)
{
    struct link *a = end_of(ALICE, BOB, 1), *b = end_of(BOB, ALICE, 2);
    struct link *ended = end_of(ALICE, BOB, 3);
    struct wire recorded = hello(ended);

    meet(a, b);
    cr_assert_eq(hear(b, &recorded), LINK_OLD);
    hello(b);
    cr_assert_eq(hear(b, &recorded), LINK_STALE);
    cr_assert_not(link_wants_hello(b));
    link_free(a);
    link_free(b);
    link_free(ended);
}

/* tests/fuzz/fuzz_control.c: any bytes as a request of tallyctl's, to a state that holds a few counters.
 * The answer is always an object that fits into a reply. */
#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "replica/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void apply(struct core *core, struct hash *previous, uint64_t number,
                  const char *name)
{
    uint8_t bytes[1024];
    struct writer w = writer_of(bytes, sizeof bytes);
    struct block head = {.number = number, .previous = *previous, .groups = 1};
    struct key_pair key = {.secret = {0}};

    block_put_head(&w, &head);
    block_put_group(&w, counter_component.number, name, (uint8_t)strlen(name), 0, 1);
    block_put_op(&w, OP_ADD, &(struct id){{(uint8_t)number}}, INT32_MIN, "", 0);
    block_seal(&w, &crypto_real, &key, previous);
    if (core_replay(core, bytes, w.len) != ERR_OK)
        abort();
}

static struct core *some_state(void)
{
    static const char *const names[] = {"hits",    "vote-1", "vote-2",
                                        "vote-10", "a",      "Z_."};
    const struct core_config config = {.crypto = &crypto_real, .requests = 16};
    struct core *core = core_new(&config);
    struct hash previous = {{0}};

    if (core == NULL || sodium_init() < 0)
        abort();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        apply(core, &previous, i + 1, names[i]);
    return core;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct control_view view = {.about = {.node_name = "one"}};
    json_t *request, *reply;
    char *text;

    if (view.core == NULL)
        view.core = some_state();
    request = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    if (request == NULL)
        return 0;
    reply = control_do(&view, request);
    if (!json_is_object(reply) || (text = json_dumps(reply, JSON_COMPACT)) == NULL)
        abort();
    if (strlen(text) > CONTROL_REPLY_MAX)
        abort();
    free(text);
    json_decref(reply);
    json_decref(request);
    return 0;
}

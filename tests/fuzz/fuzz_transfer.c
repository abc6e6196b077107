/* tests/fuzz/fuzz_transfer.c: any bytes as what a peer sends of a checkpoint: as a piece, as a wish, and as a whole state
 * that it has signed. What is kept never grows beyond what has come; a node that takes the state over can still count, and
 * save what it has. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "replica/transfer.h"
#include "tests/fuzz/weak_crypto.h"
#include "tests/lib/history.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fetch(const uint8_t *data, size_t size)
{
    struct transfer_piece piece;
    struct transfer_want want;
    struct fetch f = {0};

    if (transfer_read_want(data, size, &want) == ERR_OK && size != TRANSFER_WANT)
        abort();
    if (transfer_read_piece(data, size, &piece) != ERR_OK)
        return;
    if (piece.len != size - TRANSFER_HEAD || piece.len > TRANSFER_PIECE)
        abort();
    fetch_begin(&f, &piece);
    if (!fetch_is_of(&f, &piece))
        abort();
    fetch_take(&f, &piece);
    piece.offset /= 2;
    fetch_take(&f, &piece);
    if (f.len > piece.len || f.len > f.total || f.size > f.total)
        abort();
    fetch_clear(&f);
}

static void must(bool holds)
{
    if (!holds)
        abort();
}

static struct core *new_core(void)
{
    struct core_config config = history_config(1, 1);
    struct core *core;

    config.crypto = &weak_crypto;
    core = core_new(&config);
    must(core != NULL);
    return core;
}

/* What was taken over can be made a checkpoint, and is the same when that is read. */
static void save(struct core *core)
{
    size_t max = core_encoded_max(core), state_len;
    uint8_t *bytes = malloc(max), *again = malloc(max);
    struct writer w = writer_of(bytes, max), second = writer_of(again, max);
    struct core *read = new_core();
    struct reader state, own;

    must(bytes != NULL && again != NULL);
    core_encode_state(core, &w);
    state_len = w.len;
    core_encode_own(core, &w);
    must(!w.full);
    state = reader_of(bytes, state_len);
    own = reader_of(bytes + state_len, w.len - state_len);
    must(core_decode_state(read, &state) == ERR_OK && reader_done(&state));
    must(core_decode_own(read, &own) == ERR_OK && reader_done(&own));
    core_encode_state(read, &second);
    core_encode_own(read, &second);
    must(!second.full && second.len == w.len && memcmp(bytes, again, w.len) == 0);
    core_free(read);
    free(bytes);
    free(again);
}

static void on_reply(void *arg, uint64_t ticket, const struct msg_count_rep *rep)
{
    (void)arg;
    (void)ticket;
    (void)rep;
}

static void count(struct core *core, struct history *h, uint64_t id, const char *name)
{
    struct msg_count_req req = history_req(id, name, 1);
    struct msg_count_rep rep;

    if (core_count(core, &req, 0, BLOCK_MAX, &rep) == CORE_WAITS)
        history_commit(h, core, 1000, on_reply, NULL);
}

/* A node that has counted takes the state over, and counts on. */
static void adopt(const uint8_t *data, size_t size)
{
    struct core *old = new_core(), *new = new_core();
    struct reader r = reader_of(data, size);
    struct history h = {0};
    const struct id stream = history_id(9);
    enum err err;

    count(old, &h, 1, "hits");
    count(old, &h, 2, "votes");
    err = core_adopt(new, old, &r);
    if (err == ERR_OK && core_stream_lost(new))
        core_new_stream(old, &stream);
    for (size_t i = 0; i < h.count && err == ERR_OK; i++)
        err = core_adopt_record(new, h.blocks[i].bytes, h.blocks[i].len);
    if (err == ERR_OK)
        err = core_adopt_own(new, old);
    must(err != ERR_MEMORY && err != ERR_IO);
    if (err == ERR_OK) {
        core_take_over(new, old);
        save(new);
        count(new, &h, 3, "hits");
        save(new);
    }
    history_free(&h);
    core_free(old);
    core_free(new);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (sodium_init() < 0)
        abort();
    fetch(data, size);
    adopt(data, size);
    return 0;
}

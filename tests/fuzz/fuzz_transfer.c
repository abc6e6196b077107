/* tests/fuzz/fuzz_transfer.c: any bytes as what a peer sends of a checkpoint: as a piece, as a wish, and as a whole state
 * that it has signed. What is kept never grows beyond what has come. */
#include <sodium.h>
#include <stdlib.h>

#include "replica/transfer.h"
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

static void adopt(const uint8_t *data, size_t size)
{
    const struct core_config config = history_config(1, 1);
    struct core *old = core_new(&config), *new = core_new(&config);
    struct reader r = reader_of(data, size);

    if (old == NULL || new == NULL)
        abort();
    if (core_adopt(new, old, &r) == ERR_OK && core_adopt_own(new, old) == ERR_OK)
        core_take_over(new, old);
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

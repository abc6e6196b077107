/* tests/fuzz/fuzz_block.c: any bytes as a block. One that is taken has one encoding: put
 * together again from its parts it is the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "replica/block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_groups(struct writer *w, const struct block *block)
{
    struct block_cursor cursor = block_ops(block);
    bool first = true;
    struct op op;

    while (block_next_op(&cursor, &op)) {
        if (first)
            block_put_group(w, op.component, op.key, op.key_len, op.before,
                            cursor.ops + 1);
        block_put_op(w, op.kind, &op.id, op.value, op.text, op.text_len);
        first = cursor.ops == 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t again[BLOCK_MAX];
    struct writer w = writer_of(again, sizeof again);
    struct block block;

    if (block_decode(data, size, &crypto_real, &block) != ERR_OK)
        return 0;
    block_put_head(&w, &block);
    again[0] = block.format; /* Only the newest is written; nothing else differs. */
    put_groups(&w, &block);
    write_bytes(&w, block.signature, SIGNATURE_BYTES);
    if (w.full || w.len != size || memcmp(again, data, size) != 0)
        abort();
    return 0;
}

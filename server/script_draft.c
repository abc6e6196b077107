#include "server/script_draft.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum err compiler_refuse(struct compiler *c, enum err err, const char *format, ...)
{
    char text[sizeof c->error->text];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    conf_error_set(c->error, c->path, c->line, "%s", text);
    return err;
}

enum err compiler_no_memory(struct compiler *c)
{
    return compiler_refuse(c, ERR_MEMORY, "no memory left to compile the scripts");
}

void draft_text(struct draft *d, const char *text, size_t len)
{
    struct script_piece *last = d->count > 0 ? &d->piece[d->count - 1] : NULL;

    assert(len <= sizeof d->bytes - d->len);
    memcpy(d->bytes + d->len, text, len);
    if (last == NULL || last->from != SCRIPT_TEXT) {
        assert(d->count < DRAFT_PIECES_MAX);
        last = &d->piece[d->count++];
        *last = (struct script_piece){.from = SCRIPT_TEXT, .text = d->bytes + d->len};
    }
    last->len += (uint32_t)len;
    d->len += len;
}

void draft_puts(struct draft *d, const char *text)
{
    draft_text(d, text, strlen(text));
}

void draft_piece(struct draft *d, const struct script_piece *piece)
{
    assert(d->count < DRAFT_PIECES_MAX);
    d->piece[d->count++] = *piece;
}

enum err draft_keep(struct compiler *c, const struct draft *d, struct script_text *out)
{
    struct script_piece *piece = script_keep(c->table, (d->count + 1) * sizeof *piece);
    char *bytes = script_keep_text(c->table, d->bytes, d->len);

    if (piece == NULL || bytes == NULL)
        return compiler_no_memory(c);
    for (size_t i = 0; i < d->count; i++) {
        piece[i] = d->piece[i];
        if (piece[i].from == SCRIPT_TEXT)
            piece[i].text = bytes + (d->piece[i].text - d->bytes);
    }
    *out = (struct script_text){piece, d->count};
    return ERR_OK;
}

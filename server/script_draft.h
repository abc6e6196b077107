/* server/script_draft.h: what all stages of compiling share: where the compiler stands, how it refuses, and pieces in the
 * making. */
#ifndef SERVER_SCRIPT_DRAFT_H
#define SERVER_SCRIPT_DRAFT_H
#include "common/conf.h"
#include "server/script_table.h"

enum {
    DRAFT_PIECES_MAX = CONF_LINE_MAX, /* of one line: each takes a byte of it at least */
};

/* What may stand in a line depends on where it stands. */
struct compiler {
    struct script_table *table;
    const char *path; /* for messages */
    unsigned line;
    struct conf_error *error;
    struct script *script;
    struct script_slot slot[SCRIPT_SLOTS_MAX];
    bool numbered; /* a count or get came before: there is a number to say */
    bool sound;
    bool in_counter; /* compiling "counter =", before any step */
};

/* Set c->error to path, line and this text. Returns err. */
enum err compiler_refuse(struct compiler *c, enum err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* ERR_MEMORY, and says so. */
enum err compiler_no_memory(struct compiler *c);

/* Pieces in the making: a line for Asterisk or a word. Its texts stand in bytes, in their
 * order. Zero count and len is an empty one. */
struct draft {
    struct script_piece piece[DRAFT_PIECES_MAX];
    size_t count;
    char bytes[4 * CONF_LINE_MAX +
               64]; /* escaped twice over, and the command's own words */
    size_t len;
};

/* There is room for all that a line of CONF_LINE_MAX bytes can become. */
void draft_text(struct draft *d, const char *text, size_t len);
void draft_puts(struct draft *d, const char *text);
void draft_piece(struct draft *d, const struct script_piece *piece);

/* Move it to where the script can point to it. ERR_MEMORY, told. */
enum err draft_keep(struct compiler *c, const struct draft *d, struct script_text *out);

#endif

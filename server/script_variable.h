/* server/script_variable.h: what ${NAME} stands for in a script, and the slots that a call keeps for it. */
#ifndef SERVER_SCRIPT_VARIABLE_H
#define SERVER_SCRIPT_VARIABLE_H
#include "server/script_draft.h"

/* The piece that ${name} is at this place of the script. Errors, told:
 * ERR_MALFORMED  no such variable, or not known yet at this place
 * ERR_TOO_LONG   more than SCRIPT_SLOTS_MAX in one script; ERR_MEMORY */
enum err variable_find(struct compiler *c, const char *name, struct script_piece *piece);

/* The script's slot like this one, made where there is none yet; its room is then at least want->max. want->name is
 * copied. Errors: ERR_TOO_LONG, ERR_MEMORY, as above. */
enum err variable_slot(struct compiler *c, const struct script_slot *want,
                       uint16_t *index);

/* Whether the name means something in every script, so that none may give it to keys. */
bool variable_taken(const char *name);

#endif

/* server/script_step.h: one line of a script, "VERB WORD...", becomes a step: the verbs, and what each makes of its words. */
#ifndef SERVER_SCRIPT_STEP_H
#define SERVER_SCRIPT_STEP_H
#include "server/script_words.h"

/* A step in the making: its words by place. Large: one for all steps. */
struct step_draft {
    struct words words;
    struct word *place[WORDS_MAX + 1]; /* without the verb; NULL behind the last */
    size_t places;
    struct word *option[OPTIONS_MAX]; /* NULL: not given */
    struct draft line;
    struct script_step *step; /* what becomes of it: zeros before */
};

/* Compile the line into draft->step. Errors, told: ERR_MALFORMED, ERR_RANGE, ERR_TOO_LONG, ERR_EXISTS (an option said
 * twice, or a name that is something else), ERR_MEMORY. */
enum err step_compile(struct compiler *c, const char *text, struct step_draft *draft);

#endif

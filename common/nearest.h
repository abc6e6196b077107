/* common/nearest.h: which known word was meant by one that is unknown, for "did you mean" hints. */
#ifndef COMMON_NEAREST_H
#define COMMON_NEAREST_H

enum { NEAREST_WORD_MAX = 64 }; /* bytes; a longer word is near to none */

struct nearest {
    const char *word;
    const char *best;  /* the nearest so far; NULL: none is near enough for a hint */
    unsigned distance; /* of best: bytes missing, added, changed, or swapped */
};

/* word must live as long as what is returned. */
struct nearest nearest_to(const char *word);
/* known is kept by pointer. On a tie the first one tried stays. */
void nearest_try(struct nearest *n, const char *known);

#endif

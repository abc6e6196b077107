#include "common/nearest.h"

#include <string.h>

struct nearest nearest_to(const char *word)
{
    size_t len = strlen(word);

    /* A third of the word may be wrong, and a one-letter word is no hint at anything. */
    return (struct nearest){.word = word, .distance = 1 + (unsigned)(len + 2) / 3};
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* The optimal string alignment distance, three rows at a time. */
static unsigned distance_of(const char *a, size_t a_len, const char *b, size_t b_len)
{
    unsigned rows[3][NEAREST_WORD_MAX + 1];
    unsigned *before = rows[0], *above = rows[1], *row = rows[2];

    for (size_t j = 0; j <= b_len; j++)
        above[j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned *reused = before;

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned changed = above[j - 1] + (a[i - 1] != b[j - 1]);

            row[j] = least(changed, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
        before = above;
        above = row;
        row = reused;
    }
    return above[b_len];
}

void nearest_try(struct nearest *n, const char *known)
{
    size_t word_len = strlen(n->word), known_len = strlen(known);
    unsigned distance;

    if (word_len == 0 || word_len > NEAREST_WORD_MAX || known_len > NEAREST_WORD_MAX)
        return;
    distance = distance_of(n->word, word_len, known, known_len);
    /* All bytes differing is no likeness, however short the words. */
    if (distance < n->distance && distance < word_len) {
        n->distance = distance;
        n->best = known;
    }
}

#include "server/backoff.h"

unsigned backoff_ended(struct backoff *backoff, uint64_t lived_ms)
{
    unsigned wait = BACKOFF_FIRST_MS;

    if (lived_ms >= BACKOFF_FORGOTTEN_MS)
        backoff->ends = 0;
    if (backoff->ends++ == 0)
        return 0;
    for (unsigned i = 2; i < backoff->ends && wait < BACKOFF_MAX_MS; i++)
        wait *= 2;
    return wait < BACKOFF_MAX_MS ? wait : BACKOFF_MAX_MS;
}

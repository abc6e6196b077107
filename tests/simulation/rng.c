#include "tests/simulation/rng.h"

#include <string.h>

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void rng_seed(struct rng *r, uint64_t seed, uint64_t lane)
{
    uint64_t state = seed, mixed = splitmix(&state) + lane;

    for (size_t i = 0; i < 4; i++)
        r->s[i] = splitmix(&mixed);
}

static uint64_t rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t rng_next(struct rng *r)
{
    uint64_t result = rotate(r->s[1] * 5, 7) * 9, t = r->s[1] << 17;

    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rotate(r->s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    return rng_next(r) % n; /* The bias of 1 in 2^40 or so does no harm here. */
}

uint64_t rng_between(struct rng *r, uint64_t lo, uint64_t hi)
{
    return lo + rng_below(r, hi - lo + 1);
}

bool rng_chance(struct rng *r, uint64_t in, uint64_t of)
{
    return rng_below(r, of) < in;
}

uint64_t rng_wide(struct rng *r, uint64_t lo, uint64_t hi)
{
    unsigned doublings = 0;
    uint64_t top;

    while (doublings < 63 && lo <= hi >> (doublings + 1))
        doublings++;
    lo <<= rng_below(r, doublings + 1);
    top = lo < hi / 2 ? 2 * lo : hi;
    return rng_between(r, lo, top);
}

void rng_bytes(struct rng *r, void *to, size_t len)
{
    uint8_t *at = to;

    while (len > 0) {
        uint64_t word = rng_next(r);
        size_t n = len < sizeof word ? len : sizeof word;

        memcpy(at, &word, n);
        at += n;
        len -= n;
    }
}

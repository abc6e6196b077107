/* tests/simulation/rng.h: random numbers that are the same for the same seed, everywhere:
 * xoshiro256** (Blackman and Vigna), filled by splitmix64. Integers only, so that no
 * compiler or library changes them. */
#ifndef SIMULATION_RNG_H
#define SIMULATION_RNG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};

/* lane: one seed gives many independent sequences, so that what one part of the
 * simulation draws does not move what another part gets. */
void rng_seed(struct rng *r, uint64_t seed, uint64_t lane);
uint64_t rng_next(struct rng *r);
/* 0 <= result < n; n > 0. */
uint64_t rng_below(struct rng *r, uint64_t n);
/* lo <= result <= hi. */
uint64_t rng_between(struct rng *r, uint64_t lo, uint64_t hi);
/* True in `in` of `of` cases. */
bool rng_chance(struct rng *r, uint64_t in, uint64_t of);
/* lo to hi, each order of magnitude as often as the next; lo > 0. */
uint64_t rng_wide(struct rng *r, uint64_t lo, uint64_t hi);
void rng_bytes(struct rng *r, void *to, size_t len);

#endif

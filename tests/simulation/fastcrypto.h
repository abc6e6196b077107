/* tests/simulation/fastcrypto.h: keyed hashes in the place of BLAKE2b, Ed25519 and
 * crypto_box, for most histories: they find the same accidents in a fiftieth of the time. Against forgery
 * they are nothing. */
#ifndef SIMULATION_FASTCRYPTO_H
#define SIMULATION_FASTCRYPTO_H
#include "replica/crypto.h"

extern const struct crypto crypto_fast;

#endif

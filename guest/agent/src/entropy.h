/* The kernel's random number generator. */
#ifndef RAMET_ENTROPY_H
#define RAMET_ENTROPY_H

#include <stddef.h>
#include <stdint.h>

#define SEED_BYTES 64
#define PROOF_BYTES 32

/* Mixes the seed in, credits it, makes the generator reseed, and draws the proof. 0 or -errno. */
int entropy_reseed(const uint8_t seed[SEED_BYTES], uint8_t proof[PROOF_BYTES]);

#endif

/* Seeded randomness: xorshift64*. */
#ifndef RAMET_FUZZ_RANDOM_H
#define RAMET_FUZZ_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

void random_seed(uint64_t seed);
uint64_t random_u64(void);
/* 0 ... below-1 */
uint32_t random_below(uint32_t below);
bool random_one_in(uint32_t n);

#endif

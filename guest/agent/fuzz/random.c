#include "random.h"

static uint64_t state = 1;

void random_seed(uint64_t seed) { state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1; }

uint64_t random_u64(void) {
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * UINT64_C(0x2545f4914f6cdd1d);
}

uint32_t random_below(uint32_t below) { return (uint32_t)((random_u64() >> 32) % below); }
bool random_one_in(uint32_t n) { return random_below(n) == 0; }

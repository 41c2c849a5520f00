/* Inputs: plausible sessions, then damage. */
#ifndef RAMET_FUZZ_GENERATE_H
#define RAMET_FUZZ_GENERATE_H

#include <stddef.h>
#include <stdint.h>

/* Fills dst with one input; returns its length. */
size_t generate(uint8_t *dst, size_t cap);

#endif

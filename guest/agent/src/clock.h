/* The wall clock. */
#ifndef RAMET_CLOCK_H
#define RAMET_CLOCK_H

#include <stdint.h>

/* 0 or -errno. */
int clock_set(uint64_t time_ns);
/* What the clock says; in a dry run what it was last set to, gone on since. */
uint64_t clock_now(void);

#endif

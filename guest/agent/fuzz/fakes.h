/* The fake programs' lives. */
#ifndef RAMET_FUZZ_FAKES_H
#define RAMET_FUZZ_FAKES_H

/* Programs write, read and end, at random. */
void fakes_step(void);
void fakes_reset(void);

#endif

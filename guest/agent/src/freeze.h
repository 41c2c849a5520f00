/* Freezing the workload, and the slices of the image's own init with it. */
#ifndef RAMET_FREEZE_H
#define RAMET_FREEZE_H

#include <stdbool.h>

/* True from the request to freeze until thaw: nothing is started meanwhile. */
bool freeze_in_force(void);
void freeze_end(void);

#endif

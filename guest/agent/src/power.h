/* Ending the guest. */
#ifndef RAMET_POWER_H
#define RAMET_POWER_H

#include <stdbool.h>

/* TERM, grace time, KILL, sync, and the end; ends early when nothing is left. */
void power_begin(bool reboot);
/* waitpid has found no children. */
void power_no_children(void);
/* The agent beside the image's own init was told to end: whatever only it does for the end of the guest. */
void power_told_to_end(void);

#endif

/* Bytes from the host: the search for the marker, then frames. Any bytes whatever are fine. */
#ifndef RAMET_RECEIVE_H
#define RAMET_RECEIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where to put the next bytes; *room may be 0 while parsing waits for the output queue to shrink. */
uint8_t *receive_space(size_t *room);
void receive_bytes(size_t len);
/* Goes on with frames that waited. */
void receive_resume(void);
/* The connection is gone: all that was half received is forgotten. */
void receive_reset(void);

#endif

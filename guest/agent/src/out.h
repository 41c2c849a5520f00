/* The queue of bytes towards the host. Frames are built in it, in place. */
#ifndef RAMET_OUT_H
#define RAMET_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fields.h"

/* Streams add data only below this; what is queued already goes first. */
#define OUT_LOW_BYTES 65536u
/* Above this no further frame is taken from the host until the queue is shorter. */
#define OUT_HIGH_BYTES 1048576u

/* The payload to fill in; one frame at a time. NULL when the queue has no room for a largest frame. */
struct buf *frame_begin(uint8_t type, uint8_t channel, uint32_t stream, uint64_t offset);
/* Queues it; false, and nothing queued, when the payload passed the limit. */
bool frame_end(void);
/* A frame without payload. */
void frame_empty(uint8_t type, uint8_t channel, uint32_t stream, uint64_t offset);

void out_raw(const void *data, size_t len);
size_t out_queued(void);
void out_reset(void);
/* Writes what the descriptor takes. 0 = all written, -EAGAIN = it is full, else -errno. */
int out_flush(int fd);

#endif

/*
 * A byte ring addressed by the offsets of the stream that runs through it. Its memory is mapped at the first
 * byte and touched page by page: what a process never prints costs no child a page.
 */
#ifndef RAMET_RING_H
#define RAMET_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring {
  uint8_t *bytes;
  size_t size;   /* power of two */
  uint64_t head; /* offset of the oldest byte kept */
  uint64_t tail; /* offset after the newest byte */
};

void ring_init(struct ring *r, size_t size);
void ring_free(struct ring *r);
/* Gives the pages back and keeps the offsets; what was in it is forgotten. */
void ring_clear(struct ring *r);
size_t ring_used(const struct ring *r);
size_t ring_room(const struct ring *r);
/* Forgets bytes before the offset. */
void ring_drop_to(struct ring *r, uint64_t offset);
/* The contiguous free piece behind the newest byte; NULL when full or out of memory. */
uint8_t *ring_write_at(struct ring *r, size_t *len);
void ring_wrote(struct ring *r, size_t len);
/* The contiguous piece from an offset that is kept. */
const uint8_t *ring_read_at(const struct ring *r, uint64_t offset, size_t *len);
/* Copies all or nothing. */
bool ring_put(struct ring *r, const uint8_t *data, size_t len);

#endif

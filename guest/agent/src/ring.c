#include "ring.h"

#include <string.h>
#include <sys/mman.h>

void ring_init(struct ring *r, size_t size) {
  memset(r, 0, sizeof *r);
  r->size = size;
}

void ring_free(struct ring *r) {
  if (r->bytes) munmap(r->bytes, r->size);
  r->bytes = NULL;
  r->head = r->tail;
}

void ring_clear(struct ring *r) {
  r->head = r->tail;
  if (r->bytes) madvise(r->bytes, r->size, MADV_DONTNEED);
}

size_t ring_used(const struct ring *r) { return (size_t)(r->tail - r->head); }
size_t ring_room(const struct ring *r) { return r->size - ring_used(r); }

void ring_drop_to(struct ring *r, uint64_t offset) {
  if (offset > r->tail) offset = r->tail;
  if (offset > r->head) r->head = offset;
}

uint8_t *ring_write_at(struct ring *r, size_t *len) {
  if (!r->bytes) {
    void *bytes = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED) return NULL;
    r->bytes = bytes;
  }
  size_t at = (size_t)(r->tail & (r->size - 1));
  size_t room = ring_room(r);
  *len = room < r->size - at ? room : r->size - at;
  return *len > 0 ? r->bytes + at : NULL;
}

void ring_wrote(struct ring *r, size_t len) { r->tail += len; }

const uint8_t *ring_read_at(const struct ring *r, uint64_t offset, size_t *len) {
  *len = 0;
  if (offset < r->head || offset >= r->tail) return NULL;
  size_t at = (size_t)(offset & (r->size - 1));
  size_t have = (size_t)(r->tail - offset);
  *len = have < r->size - at ? have : r->size - at;
  return r->bytes + at;
}

bool ring_put(struct ring *r, const uint8_t *data, size_t len) {
  if (len > ring_room(r)) return false;
  while (len > 0) {
    size_t piece;
    uint8_t *at = ring_write_at(r, &piece);
    if (!at) return false;
    if (piece > len) piece = len;
    memcpy(at, data, piece);
    ring_wrote(r, piece);
    data += piece;
    len -= piece;
  }
  return true;
}

#include "out.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "frame.h"

#define QUEUE_BYTES (4u * 1048576u) /* address space; only what is used has pages */
#define KEEP_BYTES 16384u           /* pages kept when it has run empty */

static uint8_t *queue;
static size_t head; /* first byte not written */
static size_t tail;
static size_t peak;
static struct buf payload;
static struct frame open_frame;

static bool have_room(size_t len) {
  if (!queue) {
    void *at = mmap(NULL, QUEUE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return false;
    queue = at;
  }
  if (len > QUEUE_BYTES - tail && head > 0) {
    memmove(queue, queue + head, tail - head);
    tail -= head;
    head = 0;
  }
  return len <= QUEUE_BYTES - tail;
}

struct buf *frame_begin(uint8_t type, uint8_t channel, uint32_t stream, uint64_t offset) {
  if (!have_room(FRAME_HEADER_BYTES + FRAME_PAYLOAD_MAX)) return NULL;
  open_frame = (struct frame){.type = type, .channel = channel, .stream = stream, .offset = offset};
  payload = (struct buf){.at = queue + tail + FRAME_HEADER_BYTES, .cap = FRAME_PAYLOAD_MAX};
  return &payload;
}

bool frame_end(void) {
  if (payload.full) return false;
  open_frame.length = (uint32_t)payload.len;
  frame_encode(queue + tail, &open_frame);
  tail += FRAME_HEADER_BYTES + payload.len;
  if (tail > peak) peak = tail;
  return true;
}

void frame_empty(uint8_t type, uint8_t channel, uint32_t stream, uint64_t offset) {
  if (frame_begin(type, channel, stream, offset)) frame_end();
}

void out_raw(const void *data, size_t len) {
  if (!have_room(len)) return;
  memcpy(queue + tail, data, len);
  tail += len;
  if (tail > peak) peak = tail;
}

/* A burst's pages would else be copied in every child that uses the queue again. */
static void emptied(size_t bearable) {
  head = tail = 0;
  if (peak <= bearable) return;
  madvise(queue + KEEP_BYTES, peak - KEEP_BYTES, MADV_DONTNEED);
  peak = 0;
}

void out_reset(void) { emptied(KEEP_BYTES); }

size_t out_queued(void) { return tail - head; }

int out_flush(int fd) {
  while (head < tail) {
    ssize_t n = write(fd, queue + head, tail - head);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    head += (size_t)n;
  }
  emptied(4 * OUT_LOW_BYTES); /* what streams alone queue is not worth a system call each time */
  return 0;
}

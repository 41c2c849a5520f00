/* Stdin: from the stream through a ring into the process's pipe or terminal. */
#include <errno.h>
#include <unistd.h>

#include "out.h"
#include "proc.h"
#include "text.h"

#define ACK_EVERY (WINDOW_BYTES / 4)
#define END_OF_TRANSMISSION "\004"

/* Tells whoever is attached how much has been passed on. */
static void acknowledge(struct proc *p, bool all) {
  uint64_t passed = p->in_ring.head;
  if (passed - p->in_acked < (all ? 1 : ACK_EVERY)) return;
  p->in_acked = passed;
  for (struct attach *a = p->attaches; a; a = a->next) frame_empty(FRAME_ACK, CHANNEL_IN, a->stream.id, passed);
}

/* Nobody reads any more: what comes is thrown away, and acknowledged so that the sender does not hang. */
static void discard(struct proc *p) {
  ring_clear(&p->in_ring);
  acknowledge(p, true);
}

void stdin_close(struct proc *p) {
  source_close(&p->in);
  p->in_closed = true;
  discard(p);
}

static void pass_on(struct proc *p) {
  while (ring_used(&p->in_ring) > 0) {
    size_t piece;
    const uint8_t *at = ring_read_at(&p->in_ring, p->in_ring.head, &piece);
    ssize_t n = write(p->in.fd, at, piece);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      source_want(&p->in, EPOLLOUT);
      acknowledge(p, false);
      return;
    }
    if (n < 0) {
      stdin_close(p);
      return;
    }
    ring_drop_to(&p->in_ring, p->in_ring.head + (uint64_t)n);
  }
  acknowledge(p, false);
  source_want(&p->in, 0);
  if (!p->in_eof) return;
  if (p->terminal) (void)!write(p->in.fd, END_OF_TRANSMISSION, 1);
  stdin_close(p);
}

static void on_input(struct source *s, uint32_t events) {
  struct proc *p = container_of(s, struct proc, in);
  (void)events;
  pass_on(p);
}

void stdin_open(struct proc *p, int fd) {
  if (fd < 0 || source_add(&p->in, fd, 0, on_input) < 0) p->in_closed = true;
}

void stdin_data(struct stream *s, struct proc *p, uint64_t offset, const uint8_t *bytes, size_t len) {
  uint64_t accepted = p->in_ring.tail;
  if (offset > accepted || p->in_eof) {
    if (offset + len > accepted) stream_reset(s, EPROTO, "stdin has a gap, or goes on after its end");
    return;
  }
  uint64_t repeated = accepted - offset;
  if (repeated >= len) return;
  bytes += repeated;
  len -= (size_t)repeated;
  if (p->in_closed) {
    p->in_ring.tail += len;
    discard(p);
    return;
  }
  if (!ring_put(&p->in_ring, bytes, len)) {
    stream_reset(s, ENOBUFS, "stdin is beyond the window");
    return;
  }
  if (p->in.events == 0) pass_on(p);
}

void stdin_eof(struct stream *s, struct proc *p, uint64_t length) {
  if (p->in_eof) return;
  if (length != p->in_ring.tail) {
    stream_reset(s, EPROTO, "the end of stdin is not where its bytes end");
    return;
  }
  p->in_eof = true;
  if (!p->in_closed && p->in.events == 0) pass_on(p);
}

/* Output channels: from the process's pipe or terminal into the ring. */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "proc.h"
#include "text.h"
#include "sink.h"

#define READ_PER_EVENT 131072u
#define ROOM_MIN 4096u

/* How many bytes may be overwritten or are free. */
static size_t room_of(const struct channel *c) {
  if (c->proc->overwriting) return c->ring.size;
  return c->ring.size - (size_t)(c->ring.tail - c->acked);
}

static void make_room(struct channel *c, size_t want) {
  size_t room = ring_room(&c->ring);
  if (room >= want) return;
  uint64_t to = c->ring.head + (want - room);
  if (!c->proc->overwriting && to > c->acked) to = c->acked;
  ring_drop_to(&c->ring, to);
  if (c->acked < c->ring.head) c->acked = c->ring.head;
}

void channel_notify(struct channel *c) {
  for (struct attach *a = c->proc->attaches; a; a = a->next) stream_ready(&a->stream);
}

static void channel_ended(struct channel *c) {
  c->eof = true;
  channel_notify(c);
}

static void on_output(struct source *s, uint32_t events) {
  struct channel *c = container_of(s, struct channel, source);
  (void)events;
  for (size_t total = 0; total < READ_PER_EVENT;) {
    size_t allowed = room_of(c);
    if (c->last_call && c->last_bytes < allowed) allowed = (size_t)c->last_bytes;
    if (c->last_call && allowed == 0 && c->last_bytes == 0) {
      sink_adopt(source_release(s));
      channel_ended(c);
      return;
    }
    if (allowed == 0) break;
    make_room(c, allowed < ROOM_MIN ? allowed : ROOM_MIN);
    size_t piece = 0;
    uint8_t *at = ring_write_at(&c->ring, &piece);
    if (!at) break;
    ssize_t n = read(s->fd, at, piece < allowed ? piece : allowed);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      if (!c->last_call) break;
      c->last_bytes = 0;
      continue;
    }
    if (n <= 0) { /* EIO is a terminal's way to say that nobody has it open */
      source_close(s);
      channel_ended(c);
      return;
    }
    ring_wrote(&c->ring, (size_t)n);
    if (c->last_call) c->last_bytes -= (uint64_t)n;
    total += (size_t)n;
    channel_notify(c);
    if ((size_t)n < piece && !c->last_call) break; /* most likely empty now; epoll tells if not */
  }
  channel_update(c);
}

void channel_open(struct proc *p, int index, int fd) {
  struct channel *c = &p->out[index];
  if (source_add(&c->source, fd, 0, on_output) < 0) channel_ended(c);
}

void channel_close(struct channel *c) {
  if (c->source.fd >= 0) sink_adopt(source_release(&c->source));
  c->eof = true;
}

void channel_update(struct channel *c) {
  bool reads = c->proc->state != PROC_STARTING && (room_of(c) > 0 || (c->last_call && c->last_bytes == 0));
  source_want(&c->source, reads ? EPOLLIN : 0);
}

void channel_last_call(struct channel *c) {
  if (c->eof) return;
  int pending = 0;
  ioctl(c->source.fd, FIONREAD, &pending);
  c->last_call = true;
  c->last_bytes = pending > 0 ? (uint64_t)pending : 0;
  on_output(&c->source, 0);
}

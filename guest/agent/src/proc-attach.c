/* Streams attached to a process: output from the rings, in order, then its end. */
#include <errno.h>
#include <stdlib.h>

#include "out.h"
#include "proc.h"
#include "text.h"

#define DATA_BYTES (32768u - FRAME_HEADER_BYTES) /* a frame is one buffer of the virtio driver */
#define GRACE_NS (60 * NS_PER_S)

static struct attach *of(struct stream *s) { return container_of(s, struct attach, stream); }

/* The slowest reader decides what must be kept. */
static void update_acked(struct proc *p) {
  for (int i = 0; i < 2; i++) {
    struct channel *c = &p->out[i];
    uint64_t acked = UINT64_MAX;
    for (struct attach *a = p->attaches; a; a = a->next)
      if (a->acked[i] < acked) acked = a->acked[i];
    if (p->attaches) c->acked = acked;
    channel_update(c);
  }
}

static void attach_ack(struct stream *s, uint8_t channel, uint64_t count) {
  struct attach *a = of(s);
  int i = channel - CHANNEL_OUT;
  if (count > a->sent[i]) {
    stream_reset(s, EPROTO, "acknowledged more than was sent");
    return;
  }
  if (count <= a->acked[i]) return;
  a->acked[i] = count;
  update_acked(a->proc);
}

static void attach_data(struct stream *s, uint64_t offset, const uint8_t *bytes, size_t len) {
  stdin_data(s, of(s)->proc, offset, bytes, len);
}

static void attach_eof(struct stream *s, uint64_t length) { stdin_eof(s, of(s)->proc, length); }

static bool produce_channel(struct attach *a, int i) {
  struct channel *c = &a->proc->out[i];
  uint8_t name = (uint8_t)(CHANNEL_OUT + i);
  if (a->sent[i] < c->ring.tail) {
    size_t len;
    const uint8_t *at = ring_read_at(&c->ring, a->sent[i], &len);
    if (len > DATA_BYTES) len = DATA_BYTES;
    struct buf *b = frame_begin(FRAME_DATA, name, a->stream.id, a->sent[i]);
    if (!b || !at) return false;
    buf_raw(b, at, len);
    frame_end();
    a->sent[i] += len;
    return true;
  }
  if (!c->eof || a->eof_sent[i]) return false;
  frame_empty(FRAME_EOF, name, a->stream.id, c->ring.tail);
  a->eof_sent[i] = true;
  return true;
}

static enum produced attach_produce(struct stream *s) {
  struct attach *a = of(s);
  /* Errors are short and urgent: they go first. */
  if (produce_channel(a, 1) || produce_channel(a, 0)) return PRODUCED_FRAME;
  if (!a->eof_sent[0] || !a->eof_sent[1] || a->proc->state != PROC_EXITED) return PRODUCED_NOTHING;
  if (session_version() < 2) return PRODUCED_NOTHING; /* the host learns it by proc.wait, and ends the stream */
  struct buf *b = frame_begin(FRAME_EVENT, 0, s->id, 0);
  put_text_field(b, F_OP, "exit");
  put_exit_fields(b, a->proc);
  if (b) frame_end();
  stream_end(s);
  return PRODUCED_END;
}

static void grace_over(struct timer *t) {
  struct proc *p = container_of(t, struct proc, grace);
  p->overwriting = true;
  for (int i = 0; i < 2; i++) channel_update(&p->out[i]);
}

static void attach_closed(struct stream *s) {
  struct attach *a = of(s);
  struct proc *p = a->proc;
  for (struct attach **place = &p->attaches; *place; place = &(*place)->next) {
    if (*place != a) continue;
    *place = a->next;
    break;
  }
  for (int i = 0; i < 2; i++)
    if (!p->attaches) p->out[i].acked = a->acked[i];
  free(a);
  if (p->attaches) {
    update_acked(p);
  } else if (p->detached) {
    grace_over(&p->grace);
  } else {
    timer_set(&p->grace, GRACE_NS, grace_over);
    update_acked(p);
  }
}

static const struct stream_ops attach_ops = {
    .data = attach_data, .eof = attach_eof, .ack = attach_ack, .produce = attach_produce, .closed = attach_closed};

void attach_end_all(struct proc *p, const char *why) {
  while (p->attaches) stream_reset(&p->attaches->stream, ECANCELED, why);
}

static void answer(struct proc *p, struct attach *a, struct reply to) {
  struct buf *b = reply_begin(to);
  put_u64_field(b, F_PROCESS_ID, p->id);
  put_u64_field(b, F_PID, (uint64_t)p->pid);
  put_text_field(b, F_STATE, p->state == PROC_EXITED ? "exited" : "running");
  put_u64_field(b, F_STDIN_OFFSET, p->in_ring.tail);
  put_u64_field(b, F_OFFSET, p->in_ring.head);
  put_u64_field(b, F_STDOUT_OFFSET, a->sent[0]);
  put_u64_field(b, F_STDERR_OFFSET, a->sent[1]);
  if (p->state == PROC_EXITED) put_exit_fields(b, p);
  reply_end(to, b);
}

void attach_open(struct proc *p, struct reply to, const uint64_t *from[2], bool keep_others) {
  if (to.session != session_serial()) {
    if (!p->attaches && !p->detached && !p->grace.armed) timer_set(&p->grace, GRACE_NS, grace_over);
    return;
  }
  for (int i = 0; i < 2; i++) {
    if (!from[i] || *from[i] <= p->out[i].ring.tail) continue;
    reply_error(to, EINVAL, "an offset lies beyond what the process has written");
    return;
  }
  struct attach *a = calloc(1, sizeof *a);
  int error = a ? stream_open(&a->stream, to.stream, &attach_ops) : ENOMEM;
  if (error) {
    free(a);
    reply_error(to, error, NULL);
    return;
  }
  if (!keep_others) attach_end_all(p, "another stream was attached");
  a->proc = p;
  a->next = p->attaches;
  p->attaches = a;
  timer_clear(&p->grace);
  p->overwriting = false;
  p->in_acked = p->in_ring.head;
  for (int i = 0; i < 2; i++) {
    const struct ring *r = &p->out[i].ring;
    a->sent[i] = a->acked[i] = from[i] && *from[i] > r->head ? *from[i] : r->head;
  }
  answer(p, a, to);
  update_acked(p);
  stream_ready(&a->stream);
}

/* The operations on processes that exist. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"
#include "proc.h"
#include "pty.h"
#include "text.h"

/* The process that the request names; else the request is answered. */
static struct proc *named(const struct request *rq) {
  uint64_t id;
  struct proc *p = field_u64(rq->fields, F_PROCESS_ID, 0, &id) ? NULL : proc_find(id);
  if (p && p->state != PROC_STARTING) return p;
  reply_error(rq->reply, ESRCH, "no such process");
  return NULL;
}

static struct proc *named_running(const struct request *rq) {
  struct proc *p = named(rq);
  if (!p || p->state == PROC_RUNNING) return p;
  reply_error(rq->reply, ESRCH, "the process has ended");
  return NULL;
}

void op_proc_attach(const struct request *rq) {
  struct proc *p = named(rq);
  if (!p) return;
  uint64_t flags, offsets[2];
  const uint64_t *from[2] = {NULL, NULL};
  if (field_u64(rq->fields, F_FLAGS, 0, &flags) || field_u64(rq->fields, F_STDOUT_OFFSET, 0, &offsets[0]) ||
      field_u64(rq->fields, F_STDERR_OFFSET, 0, &offsets[1])) {
    reply_error(rq->reply, EINVAL, "a number is malformed");
    return;
  }
  if (field_has(rq->fields, F_STDOUT_OFFSET)) from[0] = &offsets[0];
  if (field_has(rq->fields, F_STDERR_OFFSET)) from[1] = &offsets[1];
  attach_open(p, rq->reply, from, (flags & PROC_KEEP_OTHERS) != 0);
}

void op_proc_detach(const struct request *rq) {
  struct proc *p = named(rq);
  if (!p) return;
  p->detached = true;
  attach_end_all(p, "detached");
  reply_ok(rq->reply);
}

static enum produced waiter_produce(struct stream *s) {
  struct waiter *w = container_of(s, struct waiter, stream);
  if (w->proc->state != PROC_EXITED) return PRODUCED_NOTHING;
  struct reply to = {.session = session_serial(), .stream = s->id};
  struct buf *b = reply_begin(to);
  put_exit_fields(b, w->proc);
  reply_end(to, b);
  stream_end(s);
  return PRODUCED_END;
}

static void waiter_closed(struct stream *s) {
  struct waiter *w = container_of(s, struct waiter, stream);
  for (struct waiter **place = &w->proc->waiters; *place; place = &(*place)->next) {
    if (*place != w) continue;
    *place = w->next;
    break;
  }
  free(w);
}

static const struct stream_ops waiter_ops = {.produce = waiter_produce, .closed = waiter_closed};

void op_proc_wait(const struct request *rq) {
  struct proc *p = named(rq);
  if (!p) return;
  struct waiter *w = calloc(1, sizeof *w);
  int error = w ? stream_open(&w->stream, rq->reply.stream, &waiter_ops) : ENOMEM;
  if (error) {
    free(w);
    reply_error(rq->reply, error, NULL);
    return;
  }
  w->proc = p;
  w->next = p->waiters;
  p->waiters = w;
  stream_ready(&w->stream);
}

void op_proc_signal(const struct request *rq) {
  struct proc *p = named_running(rq);
  if (!p) return;
  uint64_t signal_number, flags;
  if (field_u64(rq->fields, F_SIGNAL, 0, &signal_number) || field_u64(rq->fields, F_FLAGS, 0, &flags) ||
      signal_number < 1 || signal_number > 64) {
    reply_error(rq->reply, EINVAL, "no such signal");
    return;
  }
  /* The process leads its own session and group. */
  pid_t target = flags & PROC_GROUP ? -p->pid : p->pid;
  if (kill(target, (int)signal_number) < 0) reply_error(rq->reply, errno, NULL);
  else reply_ok(rq->reply);
}

void op_proc_resize(const struct request *rq) {
  struct proc *p = named_running(rq);
  if (!p) return;
  uint64_t columns, rows;
  if (field_u64(rq->fields, F_COLUMNS, 0, &columns) || field_u64(rq->fields, F_ROWS, 0, &rows) || columns == 0 ||
      rows == 0 || columns > UINT16_MAX || rows > UINT16_MAX) {
    reply_error(rq->reply, EINVAL, "no such terminal size");
    return;
  }
  int fd = p->out[0].source.fd;
  int error = !p->terminal ? ENOTTY : fd < 0 ? ESRCH : pty_resize(fd, (uint16_t)columns, (uint16_t)rows);
  if (error) reply_error(rq->reply, error, NULL);
  else reply_ok(rq->reply);
}

static void put_proc(struct buf *b, const struct proc *p) {
  size_t mark = record_begin(b, F_ENTRY);
  put_u64_field(b, F_PROCESS_ID, p->id);
  put_u64_field(b, F_PID, (uint64_t)p->pid);
  for (size_t at = 0; at < p->argv_bytes; at += strlen(p->argv + at) + 1) put_text_field(b, F_ARG, p->argv + at);
  if (p->tag) put_text_field(b, F_TAG, p->tag);
  put_text_field(b, F_STATE, p->state == PROC_EXITED ? "exited" : "running");
  put_u64_field(b, F_STARTED_NS, p->started_ns);
  if (p->state == PROC_EXITED) put_exit_fields(b, p);
  put_u64_field(b, F_FLAGS, p->start_flags | (p->attaches ? PROC_ATTACHED : 0));
  put_u64_field(b, F_STDIN_OFFSET, p->in_ring.tail);
  put_u64_field(b, F_STDOUT_OFFSET, p->out[0].ring.tail);
  put_u64_field(b, F_STDERR_OFFSET, p->out[1].ring.tail);
  record_end(b, mark);
}

void op_proc_list(const struct request *rq) {
  proc_prune();
  struct buf *b = reply_begin(rq->reply);
  for (struct proc *p = procs; p && b; p = p->next) {
    size_t before = b->len;
    if (p->state == PROC_STARTING) continue;
    put_proc(b, p);
    if (!b->full) continue;
    /* Newest first: what does not fit into the frame is the oldest. */
    b->full = false;
    b->len = before;
    break;
  }
  reply_end(rq->reply, b);
}

void op_proc_forget(const struct request *rq) {
  struct proc *p = named(rq);
  if (!p) return;
  if (p->state != PROC_EXITED) {
    reply_error(rq->reply, EBUSY, "the process is running");
    return;
  }
  proc_forget(p, "the process was forgotten");
  reply_ok(rq->reply);
}

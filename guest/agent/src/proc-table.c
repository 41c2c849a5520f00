#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "proc.h"
#include "text.h"

#define KEEP_NS (3600 * NS_PER_S)
#define KEEP_COUNT 64
#define DRAIN_NS (200 * NS_PER_MS)

struct proc *procs; /* newest first */
static uint64_t last_id;

struct proc *proc_new(void) {
  struct proc *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->id = ++last_id;
  p->in.fd = -1;
  p->exec_result.fd = -1;
  ring_init(&p->in_ring, WINDOW_BYTES);
  for (int i = 0; i < 2; i++) {
    p->out[i].proc = p;
    p->out[i].source.fd = -1;
    ring_init(&p->out[i].ring, WINDOW_BYTES);
  }
  p->next = procs;
  procs = p;
  return p;
}

struct proc *proc_find(uint64_t id) {
  struct proc *p = procs;
  while (p && p->id != id) p = p->next;
  return p;
}

unsigned proc_count_running(void) {
  unsigned n = 0;
  for (struct proc *p = procs; p; p = p->next)
    if (p->state != PROC_EXITED) n++;
  return n;
}

void proc_forget(struct proc *p, const char *why) {
  for (struct proc **place = &procs; *place; place = &(*place)->next) {
    if (*place != p) continue;
    *place = p->next;
    break;
  }
  attach_end_all(p, why);
  while (p->waiters) stream_reset(&p->waiters->stream, ECANCELED, why);
  timer_clear(&p->grace);
  timer_clear(&p->drain);
  source_close(&p->exec_result);
  stdin_close(p);
  for (int i = 0; i < 2; i++) {
    channel_close(&p->out[i]);
    ring_free(&p->out[i].ring);
  }
  ring_free(&p->in_ring);
  free(p->argv);
  free(p->tag);
  free(p);
}

void proc_prune(void) {
  uint64_t now = monotonic_ns();
  for (;;) {
    struct proc *oldest = NULL;
    unsigned ended = 0;
    for (struct proc *p = procs; p; p = p->next) {
      if (p->state != PROC_EXITED || p->attaches) continue;
      ended++;
      if (!oldest || p->ended_at <= oldest->ended_at) oldest = p;
    }
    if (!oldest || (ended <= KEEP_COUNT && now - oldest->ended_at < KEEP_NS)) return;
    proc_forget(oldest, "the record of the process was dropped");
  }
}

static void drain_over(struct timer *t) {
  struct proc *p = container_of(t, struct proc, drain);
  for (int i = 0; i < 2; i++) channel_last_call(&p->out[i]);
}

bool proc_reaped(pid_t pid, int status) {
  struct proc *p = procs;
  while (p && (p->pid != pid || p->state == PROC_EXITED)) p = p->next;
  if (!p) return false;
  p->status = status;
  p->ended_at = monotonic_ns();
  if (p->state == PROC_STARTING) return true; /* its exec failed, or the result is still to be read */
  p->state = PROC_EXITED;
  stdin_close(p);
  /* Descendants may hold the pipes for ever; what the process itself wrote is there already. */
  if (!p->out[0].eof || !p->out[1].eof) timer_set(&p->drain, DRAIN_NS, drain_over);
  for (struct waiter *w = p->waiters; w; w = w->next) stream_ready(&w->stream);
  for (struct attach *a = p->attaches; a; a = a->next) stream_ready(&a->stream);
  proc_prune();
  return true;
}

void proc_detach_all(void) {
  for (struct proc *p = procs; p; p = p->next) {
    p->detached = true;
    if (p->attaches) continue;
    timer_clear(&p->grace);
    p->overwriting = true;
    for (int i = 0; i < 2; i++) channel_update(&p->out[i]);
  }
}

void put_exit_fields(struct buf *b, const struct proc *p) {
  if (WIFSIGNALED(p->status)) put_u64_field(b, F_SIGNAL, (uint64_t)WTERMSIG(p->status));
  else put_u64_field(b, F_EXIT_CODE, (uint64_t)WEXITSTATUS(p->status));
}

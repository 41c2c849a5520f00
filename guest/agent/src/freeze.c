#include "freeze.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "cgroup.h"
#include "loop.h"
#include "ops.h"
#include "proc.h"
#include "text.h"

#define TARGETS 4
#define DEFAULT_TIMEOUT_MS 10000

/* The workload first; the rest exist under an init that has slices. */
static const char *const groups[TARGETS] = {"ramet/workload", "system.slice", "user.slice", "machine.slice"};

static struct source events[TARGETS] = {{.fd = -1}, {.fd = -1}, {.fd = -1}, {.fd = -1}};
static unsigned pending; /* targets that do not yet say frozen */
static bool in_force;
static bool waiting;
static struct reply asker;
static uint64_t begun_at;
static struct timer deadline;

bool freeze_in_force(void) { return in_force; }

static int set_frozen(int i, const char *value) {
  char path[96];
  cgroup_path(path, sizeof path, groups[i], "cgroup.freeze");
  return write_file(path, value);
}

static void signal_all(int number) {
  for (struct proc *p = procs; p; p = p->next)
    if (p->state == PROC_RUNNING) kill(-p->pid, number);
}

void freeze_end(void) {
  timer_clear(&deadline);
  for (int i = 0; i < TARGETS; i++) source_close(&events[i]);
  if (in_force) {
    if (agent.dry) signal_all(SIGCONT);
    else
      for (int i = 0; i < (agent.system_init ? TARGETS : 1); i++) set_frozen(i, "0");
  }
  in_force = false;
  pending = 0;
  if (!waiting) return;
  waiting = false;
  reply_error(asker, ECANCELED, "thawed before it was frozen");
}

static void frozen(void) {
  timer_clear(&deadline);
  waiting = false;
  struct buf *b = reply_begin(asker);
  put_u64_field(b, F_DURATION_NS, monotonic_ns() - begun_at);
  reply_end(asker, b);
}

/* cgroup.events reports a change by EPOLLPRI until it is read again. */
static void look(struct source *s, uint32_t unused) {
  char text[64];
  (void)unused;
  ssize_t n = pread(s->fd, text, sizeof text - 1, 0);
  text[n > 0 ? n : 0] = 0;
  if (n > 0 && !strstr(text, "frozen 1")) return;
  source_close(s);
  if (--pending == 0 && waiting) frozen();
}

static void too_late(struct timer *t) {
  (void)t;
  waiting = false;
  freeze_end();
  reply_error(asker, ETIMEDOUT, "the workload did not freeze in time and was thawed");
}

static void freeze_groups(void) {
  cgroup_fd(CGROUP_WORKLOAD);
  int targets = agent.system_init ? TARGETS : 1;
  for (int i = 0; i < targets; i++) {
    char path[96];
    if (set_frozen(i, "1") < 0) continue;
    cgroup_path(path, sizeof path, groups[i], "cgroup.events");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    pending++;
    source_add(&events[i], fd, EPOLLPRI, look);
  }
  /* What slept in the kernel freezes at once; the rest tells. The last one answers. */
  for (int i = 0; i < targets; i++)
    if (events[i].fd >= 0) look(&events[i], 0);
}

void op_freeze(const struct request *rq) {
  uint64_t timeout_ms;
  if (field_u64(rq->fields, F_TIMEOUT_MS, DEFAULT_TIMEOUT_MS, &timeout_ms)) {
    reply_error(rq->reply, EINVAL, NULL);
    return;
  }
  if (waiting) {
    reply_error(rq->reply, EBUSY, "a freeze is under way");
    return;
  }
  asker = rq->reply;
  begun_at = monotonic_ns();
  if (in_force) {
    frozen();
    return;
  }
  in_force = true;
  if (agent.dry) {
    signal_all(SIGSTOP);
    frozen();
    return;
  }
  if (cgroup_fd(CGROUP_WORKLOAD) < 0) {
    in_force = false;
    reply_error(rq->reply, EOPNOTSUPP, "the guest kernel has no cgroup2 freezer");
    return;
  }
  waiting = true;
  if (timeout_ms > 3600000) timeout_ms = 3600000;
  timer_set(&deadline, timeout_ms * NS_PER_MS, too_late);
  freeze_groups();
}

void op_thaw(const struct request *rq) {
  freeze_end();
  reply_ok(rq->reply);
}

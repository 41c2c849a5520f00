/* proc.start: the request, the descriptors, the environment, and the answer when exec has worked or not. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent.h"
#include "env.h"
#include "freeze.h"
#include "identity.h"
#include "ops.h"
#include "proc.h"
#include "pty.h"
#include "spawn.h"
#include "text.h"

#define RUNNING_LIMIT 256
#define ARGV_KEPT 512

struct start {
  const struct request *rq;
  struct user user;
  char **argv;
  size_t argc;
  char **env;
  char *cwd; /* NULL = home */
  char *tag;
  uint64_t flags, columns, rows;
  int child[3]; /* the process's ends */
  int ours[3];  /* the agent's ends; -1 where there is none */
};

static char *copy_text(struct fields fields, uint16_t key) {
  struct field f;
  return field_find(fields, key, &f) && field_is_text(&f) ? strndup((const char *)f.at, f.len) : NULL;
}

static const char *read_request(struct start *s, int *error) {
  struct fields fields = s->rq->fields;
  char user[128];
  size_t count;
  *error = field_text(fields, F_USER, user, sizeof user);
  if (!*error) *error = field_list(fields, F_ARG, &s->argv, &s->argc);
  if (!*error) *error = field_list(fields, F_ENV, &s->env, &count);
  if (!*error) *error = field_u64(fields, F_FLAGS, 0, &s->flags);
  if (!*error) *error = field_u64(fields, F_COLUMNS, 80, &s->columns);
  if (!*error) *error = field_u64(fields, F_ROWS, 24, &s->rows);
  if (*error) return NULL;
  s->cwd = copy_text(fields, F_CWD);
  s->tag = copy_text(fields, F_TAG);
  *error = EINVAL;
  if (s->argc == 0 || !s->argv[0][0]) return "no program is named";
  if (field_has(fields, F_CWD) && !s->cwd) return "the working directory is malformed";
  *error = EBUSY;
  if (freeze_in_force()) return "the workload is frozen";
  *error = EAGAIN;
  if (proc_count_running() >= RUNNING_LIMIT) return "too many processes";
  *error = user_find(user, &s->user);
  return *error ? "no such user or group" : NULL;
}

static int open_pipes(struct start *s) {
  for (int i = 0; i < 3; i++) {
    int ends[2];
    if (i == 0 && (s->flags & PROC_NO_STDIN)) {
      s->child[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
      if (s->child[0] < 0) return -errno;
      continue;
    }
    if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
    s->child[i] = ends[i == 0 ? 0 : 1];
    s->ours[i] = ends[i == 0 ? 1 : 0];
    /* Only our end: a process does not expect EAGAIN on its own descriptors. */
    fcntl(s->ours[i], F_SETFL, O_NONBLOCK);
  }
  return 0;
}

static int open_stdio(struct start *s) {
  if (!(s->flags & PROC_TERMINAL)) return open_pipes(s);
  int error = pty_open(&s->ours[1], &s->child[0], (uint16_t)s->columns, (uint16_t)s->rows, s->user.uid);
  if (error) return error;
  s->child[1] = fcntl(s->child[0], F_DUPFD_CLOEXEC, 0);
  s->child[2] = fcntl(s->child[0], F_DUPFD_CLOEXEC, 0);
  /* One descriptor each way, so that each can be waited for by itself. */
  s->ours[0] = fcntl(s->ours[1], F_DUPFD_CLOEXEC, 0);
  return s->child[2] < 0 || s->ours[0] < 0 ? -errno : 0;
}

static void close_all(int fds[3]) {
  for (int i = 0; i < 3; i++) {
    if (fds[i] >= 0) close(fds[i]);
    fds[i] = -1;
  }
}

static pid_t launch(struct start *s, int error_fd) {
  char home[300], user[80], logname[80], shell[300];
  struct env env = {0};
  text_join(home, sizeof home, "HOME=", s->user.home, NULL);
  text_join(user, sizeof user, "USER=", s->user.name, NULL);
  text_join(logname, sizeof logname, "LOGNAME=", s->user.name, NULL);
  text_join(shell, sizeof shell, "SHELL=", s->user.shell[0] ? s->user.shell : "/bin/sh", NULL);
  static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  static char term[] = "TERM=xterm-256color";
  env_set(&env, path);
  env_set(&env, home);
  env_set(&env, user);
  env_set(&env, logname);
  env_set(&env, shell);
  if (s->flags & PROC_TERMINAL) env_set(&env, term);
  identity_env(&env);
  env_set_all(&env, s->env);
  struct spawn plan = {.argv = s->argv, .env = env.list, .cwd = s->cwd, .user = &s->user,
                       .stdio = {s->child[0], s->child[1], s->child[2]}, .terminal = (s->flags & PROC_TERMINAL) != 0,
                       .group = CGROUP_WORKLOAD, .error_fd = error_fd};
  pid_t pid = spawn(&plan);
  env_free(&env);
  return pid;
}

static void keep_argv(struct proc *p, const struct start *s) {
  for (size_t i = 0; i < s->argc; i++) {
    size_t n = strlen(s->argv[i]) + 1;
    if (p->argv_bytes + n > ARGV_KEPT) break;
    p->argv_bytes += n;
  }
  p->argv = malloc(p->argv_bytes + 1);
  if (p->argv) memcpy(p->argv, s->argv[0], p->argv_bytes); /* field_list lays them one behind the other */
  else p->argv_bytes = 0;
}

static void on_exec_result(struct source *source, uint32_t events) {
  struct proc *p = container_of(source, struct proc, exec_result);
  struct spawn_error failure;
  (void)events;
  ssize_t n = read(source->fd, &failure, sizeof failure);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  source_close(source);
  if (n == (ssize_t)sizeof failure) {
    char message[128];
    text_join(message, sizeof message, spawn_stage_text(failure.stage), strerror(failure.error), NULL);
    reply_error(p->starter, failure.error, message);
    proc_forget(p, "it did not start");
    return;
  }
  p->state = PROC_RUNNING;
  const uint64_t *from[2] = {NULL, NULL};
  p->overwriting = p->detached;
  attach_open(p, p->starter, from, true);
  for (int i = 0; i < 2; i++) channel_update(&p->out[i]);
  /* It may have ended before this was read. */
  if (p->ended_at) proc_reaped(p->pid, p->status);
}

static int begin(struct start *s) {
  int result[2];
  int error = open_stdio(s);
  if (error) return error;
  struct proc *p = proc_new();
  if (!p) return -ENOMEM;
  if (pipe2(result, O_CLOEXEC | O_NONBLOCK) < 0) {
    error = -errno;
    proc_forget(p, "");
    return error;
  }
  p->started_ns = realtime_ns();
  p->pid = launch(s, result[1]);
  close(result[1]);
  if (p->pid < 0) {
    error = p->pid;
    close(result[0]);
    proc_forget(p, "");
    return error;
  }
  p->starter = s->rq->reply;
  p->terminal = (s->flags & PROC_TERMINAL) != 0;
  p->detached = (s->flags & PROC_DETACHED) != 0;
  p->start_flags = s->flags & (PROC_TERMINAL | PROC_DETACHED);
  p->tag = s->tag;
  s->tag = NULL;
  keep_argv(p, s);
  stdin_open(p, s->ours[0]);
  channel_open(p, 0, s->ours[1]);
  if (s->ours[2] >= 0) channel_open(p, 1, s->ours[2]);
  else p->out[1].eof = true;
  for (int i = 0; i < 3; i++) s->ours[i] = -1;
  source_add(&p->exec_result, result[0], EPOLLIN, on_exec_result);
  return 0;
}

void op_proc_start(const struct request *rq) {
  struct start s = {.rq = rq, .child = {-1, -1, -1}, .ours = {-1, -1, -1}};
  int error = 0;
  proc_prune();
  const char *message = read_request(&s, &error);
  if (!error) error = begin(&s);
  if (error) reply_error(rq->reply, error, message);
  close_all(s.child);
  close_all(s.ours);
  free(s.argv);
  free(s.env);
  free(s.cwd);
  free(s.tag);
}

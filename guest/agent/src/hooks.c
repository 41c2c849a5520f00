/* hooks.run: the executables of a directory, in the order of their names, in a helper process and a cgroup of their own. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "env.h"
#include "helper.h"
#include "identity.h"
#include "ops.h"
#include "spawn.h"
#include "text.h"

#define HOOK_LIMIT 64
#define OUTPUT_BYTES 4096u
#define OUTPUT_BYTES_IF_MANY 512u
#define MANY 12
#define DEFAULT_TIMEOUT_MS 30000

/* The end of what a hook has written. */
struct tail {
  char bytes[OUTPUT_BYTES];
  size_t len;
};

static void tail_add(struct tail *t, const char *data, size_t len) {
  if (len > sizeof t->bytes) {
    data += len - sizeof t->bytes;
    len = sizeof t->bytes;
  }
  size_t over = t->len + len > sizeof t->bytes ? t->len + len - sizeof t->bytes : 0;
  memmove(t->bytes, t->bytes + over, t->len - over);
  t->len -= over;
  memcpy(t->bytes + t->len, data, len);
  t->len += len;
}

static bool read_output(int fd, struct tail *tail) {
  char part[1024];
  ssize_t n = read(fd, part, sizeof part);
  if (n > 0) tail_add(tail, part, (size_t)n);
  return n > 0;
}

/* Waits for the end of the process, reading what it writes; false when the time is over. */
static bool wait_for(pid_t pid, int output, struct tail *tail, uint64_t deadline, int *status) {
  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  bool ended = false;
  while (!ended) {
    struct pollfd p[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = output, .events = POLLIN}};
    uint64_t now = monotonic_ns();
    if (now >= deadline) break;
    poll(p, 2, (int)((deadline - now) / NS_PER_MS) + 1);
    if (p[1].revents && !read_output(output, tail)) output = -1;
    ended = waitpid(pid, status, WNOHANG) == pid;
  }
  close(pidfd);
  if (!ended) {
    kill(-pid, SIGKILL);
    waitpid(pid, status, 0);
  }
  while (output >= 0 && read_output(output, tail)) continue;
  return ended;
}

/* 0, ETIMEDOUT, ECANCELED, or what kept it from starting. */
static int run_hook(const char *path, struct env *env, uint64_t deadline, struct buf *answer, size_t output_max) {
  char *argv[] = {strdup(path), NULL};
  struct user root;
  struct tail *tail = calloc(1, sizeof *tail);
  uint64_t begun = monotonic_ns();
  int ends[2], status = 0;
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (!argv[0] || !tail || user_find("", &root) < 0 || null < 0 || pipe2(ends, O_CLOEXEC) < 0) return ENOMEM;
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  struct spawn plan = {.argv = argv, .env = env->list, .cwd = "/", .user = &root, .stdio = {null, ends[1], ends[1]},
                       .group = CGROUP_HOOKS, .error_fd = -1};
  pid_t pid = spawn(&plan);
  close(ends[1]);
  close(null);
  if (pid < 0) return -pid;
  bool ended = wait_for(pid, ends[0], tail, deadline, &status);
  close(ends[0]);
  size_t mark = record_begin(answer, F_HOOK);
  put_text_field(answer, F_PATH, path);
  if (WIFSIGNALED(status)) put_u64_field(answer, F_SIGNAL, (uint64_t)WTERMSIG(status));
  else put_u64_field(answer, F_EXIT_CODE, (uint64_t)WEXITSTATUS(status));
  put_u64_field(answer, F_DURATION_NS, monotonic_ns() - begun);
  size_t kept = tail->len < output_max ? tail->len : output_max;
  put_bytes_field(answer, F_OUTPUT, tail->bytes + tail->len - kept, kept);
  record_end(answer, mark);
  return !ended ? ETIMEDOUT : status != 0 ? ECANCELED : 0;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Paths of the executables; a directory that is not there has none. */
static size_t list_hooks(const char *dir_path, char *list[HOOK_LIMIT]) {
  size_t count = 0;
  DIR *dir = opendir(dir_path);
  if (!dir) return 0;
  for (struct dirent *e = readdir(dir); e && count < HOOK_LIMIT; e = readdir(dir)) {
    char path[1024];
    struct stat st;
    if (e->d_name[0] == '.' || !text_join(path, sizeof path, dir_path, "/", e->d_name, NULL)) continue;
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & 0111)) continue;
    list[count] = strdup(path);
    if (list[count]) count++;
  }
  closedir(dir);
  qsort(list, count, sizeof *list, by_name);
  return count;
}

static void run_all(const char *name, char **extra, uint64_t deadline, struct buf *answer) {
  char dir[512], own_dir[64], hook[32];
  char *list[HOOK_LIMIT];
  struct env env = {0};
  static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  static char home[] = "HOME=/root";
  text_join(own_dir, sizeof own_dir, "/etc/ramet/", name, ".d", NULL);
  text_join(hook, sizeof hook, "RAMET_HOOK=", name, NULL);
  env_set(&env, path);
  env_set(&env, home);
  identity_env(&env);
  env_set_all(&env, extra);
  env_set(&env, hook);
  size_t count = agent_path(dir, sizeof dir, own_dir) ? list_hooks(dir, list) : 0;
  int error = 0;
  /* The errno stands first and is filled in at the end. */
  put_u64_field(answer, F_ERRNO, 0);
  for (size_t i = 0; i < count && !error; i++)
    error = run_hook(list[i], &env, deadline, answer, count > MANY ? OUTPUT_BYTES_IF_MANY : OUTPUT_BYTES);
  if (!error || answer->full) return;
  put_u64(answer->at + 6, (uint64_t)error);
  put_text_field(answer, F_MESSAGE, error == ETIMEDOUT ? "a hook did not end in time"
                                    : error == ECANCELED ? "a hook failed" : strerror(error));
}

static void run(const struct request *rq, struct buf *answer) {
  char name[32];
  uint64_t timeout_ms;
  char **extra;
  size_t count;
  int error = field_text(rq->fields, F_NAME, name, sizeof name);
  if (!error && strcmp(name, "pre-snapshot") != 0 && strcmp(name, "post-fork") != 0) error = -EINVAL;
  if (!error) error = field_u64(rq->fields, F_TIMEOUT_MS, DEFAULT_TIMEOUT_MS, &timeout_ms);
  if (!error) error = field_list(rq->fields, F_ENV, &extra, &count);
  if (error) {
    put_result(answer, error, "no such kind of hook, or the request is malformed");
    return;
  }
  if (timeout_ms > 3600000) timeout_ms = 3600000;
  run_all(name, extra, monotonic_ns() + timeout_ms * NS_PER_MS, answer);
}

void op_hooks_run(const struct request *rq) {
  /* A test without a root of its own must not run the host's hooks. */
  if (agent.dry && !agent.root[0]) reply_ok(rq->reply);
  else helper_run(rq, run, NULL);
}

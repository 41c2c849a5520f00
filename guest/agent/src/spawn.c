#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"
#include "text.h"

static bool no_clone_into; /* kernel or sandbox without clone3 */

pid_t fork_into(int group_fd) {
  if (!no_clone_into) {
    struct clone_args args = {.exit_signal = SIGCHLD};
    if (group_fd >= 0) {
      args.flags |= CLONE_INTO_CGROUP;
      args.cgroup = (unsigned)group_fd;
    }
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid >= 0) return (pid_t)pid;
    if (errno != ENOSYS && errno != EINVAL && errno != E2BIG) return -errno;
    no_clone_into = true;
  }
  long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  return pid < 0 ? -errno : (pid_t)pid;
}

const char *spawn_stage_text(int stage) {
  switch (stage) {
    case SPAWN_USER: return "cannot become the user: ";
    case SPAWN_CWD: return "cannot enter the working directory: ";
    case SPAWN_EXEC: return "cannot run the program: ";
    default: return "cannot prepare the process: ";
  }
}

static int become(const struct user *u) {
  if (u->uid == geteuid() && u->uid != 0) return 0; /* a test without privileges */
  if (geteuid() != 0) return EPERM;
  if (setgroups((size_t)u->group_count, u->groups) < 0 || setgid(u->gid) < 0 || setuid(u->uid) < 0) return errno;
  return 0;
}

static int stdio_in_place(const int from[3]) {
  int fds[3];
  for (int i = 0; i < 3; i++) {
    /* First out of the way of 0, 1 and 2. */
    fds[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 3);
    if (fds[i] < 0) return errno;
  }
  for (int i = 0; i < 3; i++)
    if (dup2(fds[i], i) < 0) return errno;
  return 0;
}

static void signals_as_new(void) {
  sigset_t none;
  sigemptyset(&none);
  signal(SIGPIPE, SIG_DFL);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

static int run(const struct spawn *plan, int *stage) {
  *stage = SPAWN_SETUP;
  if (no_clone_into && cgroup_fd(plan->group) >= 0) cgroup_enter(plan->group);
  setsid();
  int error = stdio_in_place(plan->stdio);
  if (error) return error;
  if (plan->terminal && ioctl(0, TIOCSCTTY, 0) < 0) return errno;
  if (agent.system_init && !agent.dry) write_file("/proc/self/oom_score_adj", "0");
  *stage = SPAWN_USER;
  error = become(plan->user);
  if (error) return error;
  *stage = SPAWN_CWD;
  if (plan->cwd) {
    if (chdir(plan->cwd) < 0) return errno;
  } else if (chdir(plan->user->home) < 0 && chdir("/") < 0) {
    return errno;
  }
  *stage = SPAWN_EXEC;
  signals_as_new();
  environ = plan->env;
  execvp(plan->argv[0], plan->argv);
  return errno;
}

pid_t spawn(const struct spawn *plan) {
  pid_t pid = fork_into(cgroup_fd(plan->group));
  if (pid != 0) return pid;
  struct spawn_error failure;
  failure.error = run(plan, &failure.stage);
  if (plan->error_fd >= 0) write_all(plan->error_fd, &failure, sizeof failure);
  _exit(127);
}

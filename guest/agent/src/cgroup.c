#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "log.h"
#include "text.h"

#define TREE "/sys/fs/cgroup"

static const char *const groups[] = {[CGROUP_WORKLOAD] = "ramet/workload", [CGROUP_HOOKS] = "ramet/hooks"};
static int fds[] = {-1, -1};
static bool usable;

bool cgroup_path(char *dst, unsigned long cap, const char *group, const char *file) {
  return text_join(dst, cap, TREE "/", group, "/", file, NULL);
}

static int open_group(enum cgroup which) {
  char path[64];
  text_join(path, sizeof path, TREE "/", groups[which], NULL);
  mkdir(path, 0755);
  return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void cgroup_init(void) {
  if (agent.dry) return;
  mkdir(TREE "/ramet", 0755);
  mkdir(TREE "/ramet/agent", 0755);
  int error = write_file(TREE "/ramet/agent/cgroup.procs", "0");
  if (error < 0) {
    log_errno("no cgroup2 at", TREE, error);
    return;
  }
  usable = true;
  fds[CGROUP_WORKLOAD] = open_group(CGROUP_WORKLOAD);
  fds[CGROUP_HOOKS] = open_group(CGROUP_HOOKS);
}

int cgroup_fd(enum cgroup which) {
  if (!usable) return -1;
  /* A removed group's directory stays open, but has no links left. */
  struct stat st;
  if (fds[which] < 0 || fstat(fds[which], &st) < 0 || st.st_nlink == 0) {
    if (fds[which] >= 0) close(fds[which]);
    fds[which] = open_group(which);
  }
  return fds[which];
}

int cgroup_enter(enum cgroup which) {
  int fd = openat(fds[which], "cgroup.procs", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int error = write_all(fd, "0", 1);
  close(fd);
  return error;
}

#include "mounts.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "text.h"

struct place {
  const char *path;
  const char *type;
  unsigned long flags;
  const char *options;
};

#define QUIET (MS_NOSUID | MS_NOEXEC | MS_NODEV)

static const struct place places[] = {
    {"/proc", "proc", QUIET, NULL},
    {"/sys", "sysfs", QUIET, NULL},
    {"/dev", "devtmpfs", MS_NOSUID, "mode=0755"},
    {"/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"},
    {"/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"},
    {"/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755"},
    {"/sys/fs/cgroup", "cgroup2", QUIET, "nsdelegate"},
};

static void mount_one(const struct place *p) {
  mkdir(p->path, 0755);
  if (mount(p->type, p->path, p->type, p->flags, p->options) < 0 && errno != EBUSY)
    log_errno("cannot mount", p->path, errno);
}

void mounts_early(void) {
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) mount_one(&places[i]);
  /* Programs expect these; an image's udev would make them. */
  (void)!symlink("/proc/self/fd", "/dev/fd");
  (void)!symlink("/proc/self/fd/0", "/dev/stdin");
  (void)!symlink("/proc/self/fd/1", "/dev/stdout");
  (void)!symlink("/proc/self/fd/2", "/dev/stderr");
}

void mounts_without_root(void) {
  static const struct place tmp = {"/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"};
  mount_one(&tmp);
}

void mounts_move(const char *new_root) {
  static const char *const moved[] = {"/dev", "/proc", "/sys", "/run"};
  for (size_t i = 0; i < sizeof moved / sizeof *moved; i++) {
    char target[128];
    text_join(target, sizeof target, new_root, moved[i], NULL);
    mkdir(target, 0755);
    if (mount(moved[i], target, NULL, MS_MOVE, NULL) < 0) log_errno("cannot move", moved[i], errno);
  }
}

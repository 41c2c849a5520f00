#include "rootfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "mounts.h"
#include "port.h"
#include "text.h"

#define NEW_ROOT "/newroot"
#define WAIT_MS 30000
#define DEPTH_MAX 32

static int wait_for(const char *device) {
  int fd = port_events_open();
  uint64_t end = monotonic_ns() + WAIT_MS * NS_PER_MS;
  /* The events are asked for first, so that none falls between a look and the wait. */
  while (access(device, F_OK) < 0) {
    uint64_t now = monotonic_ns();
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (now >= end || poll(&p, 1, (int)((end - now) / NS_PER_MS) + 1) < 0) break;
    port_events_drain(fd);
  }
  if (fd >= 0) close(fd);
  return access(device, F_OK) < 0 ? -ENODEV : 0;
}

/* Frees the memory of the initramfs; never leaves its file system. */
static void empty_directory(int dir_fd, dev_t device, int depth) {
  DIR *dir = fdopendir(dir_fd);
  if (!dir) {
    close(dir_fd);
    return;
  }
  for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
    struct stat st;
    if (e->d_name[0] == '.' && (!e->d_name[1] || (e->d_name[1] == '.' && !e->d_name[2]))) continue;
    if (fstatat(dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != device) continue;
    if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
      int fd = openat(dir_fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (fd >= 0) empty_directory(fd, device, depth + 1);
    }
    unlinkat(dir_fd, e->d_name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
  }
  closedir(dir);
}

int rootfs_switch(const struct cmdline *cmdline) {
  struct stat st;
  int error = wait_for(cmdline->root);
  if (error) return error;
  mkdir(NEW_ROOT, 0755);
  if (mount(cmdline->root, NEW_ROOT, cmdline->fstype, cmdline->read_only ? MS_RDONLY : 0, NULL) < 0) return -errno;
  mounts_move(NEW_ROOT);
  int old = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (old < 0 || fstat(old, &st) < 0 || chdir(NEW_ROOT) < 0) return -errno;
  empty_directory(old, st.st_dev, 0);
  if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0) return -errno;
  return 0;
}

#include "boot.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "cmdline.h"
#include "log.h"
#include "modules.h"
#include "mounts.h"
#include "rootfs.h"
#include "text.h"

/* The kernel panics when pid 1 ends, and the host sees that. */
static void give_up(const char *what, const char *object, int error) {
  log_errno(what, object, error);
  _exit(1);
}

/* The image's own init becomes pid 1; the agent goes on as its child, in a cgroup that the init does not manage. */
static void hand_over(void) {
  static char inits[][32] = {"/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/init"};
  pid_t pid = fork();
  if (pid < 0) give_up("cannot fork before", "the image's init", errno);
  if (pid == 0) {
    agent.pid1 = false;
    agent.system_init = true;
    /* Its console lines go the kernel's way; a terminal of its own would steal the init's. */
    setsid();
    /* Without it the guest is beyond the host's reach; what it starts does not inherit this. */
    write_file("/proc/self/oom_score_adj", "-1000");
    return;
  }
  for (size_t i = 0; i < sizeof inits / sizeof *inits; i++) {
    char *argv[] = {inits[i], NULL};
    execv(inits[i], argv);
  }
  give_up("cannot run the image's", "/sbin/init", errno);
}

static void ensure_console(void) {
  if (fcntl(2, F_GETFD) >= 0) return;
  int fd = open("/dev/console", O_RDWR | O_NOCTTY);
  if (fd < 0) fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd < 2) fd = dup(fd);
}

void boot(void) {
  struct cmdline cmdline;
  agent.pid1 = true;
  umask(022);
  mounts_early();
  ensure_console();
  /* Ctrl-Alt-Del becomes a SIGINT for pid 1. */
  reboot(RB_DISABLE_CAD);
  cmdline_read(&cmdline);
  modules_load("/etc/ramet/modules");
  if (!cmdline.root[0]) {
    mounts_without_root();
    return;
  }
  int error = rootfs_switch(&cmdline);
  if (error) give_up("cannot mount the root file system", cmdline.root, error);
  if (cmdline.system_init) hand_over();
}

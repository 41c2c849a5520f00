#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "fs-freeze.h"
#include "helper.h"
#include "log.h"
#include "loop.h"
#include "power.h"
#include "proc.h"

static struct source source = {.fd = -1};

static void reap(void) {
  for (;;) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid < 0) power_no_children();
    if (pid <= 0) return;
    fs_freeze_reaped(pid);
    /* Others are orphans that have come to pid 1. */
    if (!helper_reaped(pid)) proc_reaped(pid, status);
  }
}

/* As BusyBox's init has it, whose tools send these to process 1; SIGINT is what Ctrl-Alt-Del sends. */
static bool asks_for_reboot(uint32_t number) {
  return number == SIGTERM || number == SIGINT;
}

static void on_signal(struct source *s, uint32_t events) {
  struct signalfd_siginfo info;
  (void)events;
  while (read(s->fd, &info, sizeof info) == (ssize_t)sizeof info) {
    if (info.ssi_signo == SIGCHLD) reap();
    else if (!agent.pid1) loop_stop();
    else power_begin(asks_for_reboot(info.ssi_signo));
  }
}

void signals_init(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  if (agent.pid1) {
    sigaddset(&set, SIGUSR1); /* halt */
    sigaddset(&set, SIGUSR2); /* poweroff */
  }
  sigprocmask(SIG_BLOCK, &set, NULL);
  signal(SIGPIPE, SIG_IGN);
  int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (fd < 0 || source_add(&source, fd, EPOLLIN, on_signal) < 0) log_errno("no", "signalfd", errno);
}

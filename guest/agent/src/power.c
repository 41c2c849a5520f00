#include "power.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "freeze.h"
#include "fs-freeze.h"
#include "link.h"
#include "log.h"
#include "loop.h"
#include "nic.h"
#include "ops.h"
#include "text.h"

#define GRACE_NS (5 * NS_PER_S)
#define ASK_AGAIN_NS (1 * NS_PER_S)
#define FLUSH_MS 200
#define FLAG_REBOOT 1u
#define FLAG_AT_ONCE 2u
/* glibc's SIGRTMIN, which systemd counts from; musl's own is another. */
#define SYSTEMD_POWEROFF (34 + 4)
#define SYSTEMD_REBOOT (34 + 5)

static bool under_way;
static bool to_reboot;
static struct timer grace;
static struct timer begin_timer;
static struct timer ask_timer;

static void end_kernel(void) {
  link_flush(FLUSH_MS);
  nic_all_down();
  sync();
  /* A clean file system needs no journal replay in whatever boots from this disk next. */
  if (agent.pid1) mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
  unsigned command = to_reboot ? LINUX_REBOOT_CMD_RESTART : LINUX_REBOOT_CMD_POWER_OFF;
  syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, command, NULL);
  log_errno("cannot end", "the guest", errno);
}

static void grace_over(struct timer *t) {
  (void)t;
  kill(-1, SIGKILL);
  while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) continue;
  end_kernel();
}

void power_no_children(void) {
  if (!under_way || !grace.armed) return;
  timer_clear(&grace);
  end_kernel();
}

static bool has_systemd(void) { return access("/run/systemd/system", F_OK) == 0; }

/* A systemd that has only begun loses the signal, and asking for the same again does it no harm. */
static void ask_systemd(struct timer *t) {
  if (has_systemd()) kill(1, to_reboot ? SYSTEMD_REBOOT : SYSTEMD_POWEROFF);
  timer_set(t, ASK_AGAIN_NS, ask_systemd);
}

/* The image's own init knows how to stop its services. */
static void ask_init(void) {
  bool systemd = has_systemd();
  ask_systemd(&ask_timer);
  if (systemd) return;
  const char *program = to_reboot ? "/sbin/reboot" : "/sbin/poweroff";
  if (fork() == 0) {
    execl(program, program, (char *)NULL);
    /* What BusyBox's init takes. */
    kill(1, to_reboot ? SIGTERM : SIGUSR2);
    _exit(0);
  }
}

/* Before the kernel ends, pid 1 is another program, which tells all processes to end. */
static bool systemd_ends(void) {
  char name[16] = "";
  read_file("/proc/1/comm", name, sizeof name);
  return strncmp(name, "systemd-shutdow", sizeof name - 1) == 0;
}

void power_told_to_end(void) {
  if (agent.system_init && systemd_ends()) nic_all_down();
}

void power_begin(bool reboot) {
  if (under_way) return;
  under_way = true;
  to_reboot = reboot;
  link_flush(FLUSH_MS);
  fs_freeze_end();
  freeze_end(); /* what is frozen can do nothing on TERM */
  if (agent.dry) {
    under_way = false;
    return;
  }
  if (!agent.pid1) {
    ask_init();
    return;
  }
  log_line(reboot ? "rebooting" : "powering off", NULL);
  timer_set(&grace, GRACE_NS, grace_over);
  kill(-1, SIGTERM);
  /* With no children there is no SIGCHLD to wait for. (kill tells nothing: it counts the kernel's threads.) */
  siginfo_t info;
  if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD) power_no_children();
}

static void begin_now(struct timer *t) {
  (void)t;
  power_begin(to_reboot);
}

static void end_now(struct timer *t) {
  (void)t;
  if (!agent.dry) end_kernel();
}

void op_shutdown(const struct request *rq) {
  uint64_t flags;
  if (field_u64(rq->fields, F_FLAGS, 0, &flags)) {
    reply_error(rq->reply, EINVAL, NULL);
    return;
  }
  reply_ok(rq->reply);
  to_reboot = (flags & FLAG_REBOOT) != 0;
  /* From the loop, after the answer is on its way. */
  timer_set(&begin_timer, 0, (flags & FLAG_AT_ONCE) ? end_now : begin_now);
}

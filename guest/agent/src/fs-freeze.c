#include "fs-freeze.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "helper.h"
#include "loop.h"
#include "ops.h"
#include "text.h"

#define MOUNTS_MAX 16
#define DEFAULT_TIMEOUT_MS 10000
#define TIMEOUT_MAX_MS 600000

static int fds[MOUNTS_MAX];
static int fd_count;
static pid_t keeper; /* thaws by itself, even if the agent is held up by a frozen file system */
static struct timer end_timer;

bool fs_freeze_in_force(void) { return fd_count > 0; }

bool fs_freeze_refuses(struct reply to) {
  if (fd_count == 0) return false;
  reply_error(to, EBUSY, "the file systems are frozen");
  return true;
}

/* FITHAW on what is not frozen is EINVAL and harmless. */
static void thaw_all(void) {
  for (int i = fd_count; i-- > 0;) ioctl(fds[i], (int)FITHAW, 0);
}

void fs_freeze_reaped(pid_t pid) {
  if (pid == keeper) keeper = 0;
}

void fs_freeze_end(void) {
  timer_clear(&end_timer);
  if (keeper > 0) kill(keeper, SIGKILL);
  keeper = 0;
  if (fd_count == 0) return;
  thaw_all();
  while (fd_count > 0) close(fds[--fd_count]);
}

static void time_over(struct timer *t) {
  (void)t;
  fs_freeze_end();
}

/* Mount points of writable file systems on disks, in the order of mounting; the escapes of odd names are not undone. */
static void open_mounts(void) {
  char text[8192];
  char *rest = text;
  if (agent.dry || read_file("/proc/self/mounts", text, sizeof text) < 0) return;
  for (char *line = strtok_r(text, "\n", &rest); line && fd_count < MOUNTS_MAX; line = strtok_r(NULL, "\n", &rest)) {
    char *word_rest = line;
    char *device = strtok_r(line, " ", &word_rest);
    char *point = strtok_r(NULL, " ", &word_rest);
    char *type = strtok_r(NULL, " ", &word_rest);
    char *options = strtok_r(NULL, " ", &word_rest);
    if (!device || !point || !type || !options) continue;
    if (strncmp(device, "/dev/", 5) != 0 || strncmp(options, "rw", 2) != 0) continue;
    int fd = open(point, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) fds[fd_count++] = fd;
  }
}

static void freeze_all(const struct request *rq, struct buf *answer) {
  (void)rq;
  uint64_t begun = monotonic_ns();
  int error = 0;
  for (int i = 0; i < fd_count && !error; i++)
    if (ioctl(fds[i], (int)FIFREEZE, 0) < 0 && errno != EOPNOTSUPP && errno != EBUSY) error = -errno;
  if (error) thaw_all();
  put_result(answer, error, "a file system cannot be frozen");
  put_u64_field(answer, F_DURATION_NS, monotonic_ns() - begun);
}

static uint64_t timeout_of(const struct request *rq) {
  uint64_t ms;
  if (field_u64(rq->fields, F_TIMEOUT_MS, DEFAULT_TIMEOUT_MS, &ms)) ms = DEFAULT_TIMEOUT_MS;
  return ms < TIMEOUT_MAX_MS ? ms : TIMEOUT_MAX_MS;
}

static void keep(const struct request *rq) {
  uint64_t ms = timeout_of(rq);
  struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000 * NS_PER_MS)};
  while (nanosleep(&t, &t) < 0 && errno == EINTR) continue;
  thaw_all();
}

void op_fs_freeze(const struct request *rq) {
  if (fs_freeze_refuses(rq->reply)) return;
  open_mounts();
  keeper = helper_run(rq, freeze_all, keep);
  if (keeper == 0) fs_freeze_end();
  else timer_set(&end_timer, timeout_of(rq) * NS_PER_MS, time_over);
}

void op_fs_thaw(const struct request *rq) {
  fs_freeze_end();
  reply_ok(rq->reply);
}

static void sync_all(const struct request *rq, struct buf *answer) {
  (void)rq;
  if (!agent.dry) sync();
  put_result(answer, 0, NULL);
}

void op_sync(const struct request *rq) { helper_run(rq, sync_all, NULL); }

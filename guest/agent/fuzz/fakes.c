/*
 * What reaches out of the process, made harmless: programs are pipes that the harness writes to, everything on files
 * is one stream that reads the request with the real getters and echoes.
 */
#include "fakes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../src/file-paths.h"
#include "../src/fs-freeze.h"
#include "../src/helper.h"
#include "../src/link.h"
#include "../src/ops.h"
#include "../src/out.h"
#include "../src/power.h"
#include "../src/proc.h"
#include "../src/spawn.h"
#include "../src/stream.h"
#include "../src/text.h"
#include "random.h"

#define PROGRAMS 16

static struct {
  pid_t pid;
  int fds[3];
} programs[PROGRAMS];

static void close_program(int i) {
  for (int k = 0; k < 3; k++)
    if (programs[i].fds[k] >= 0) close(programs[i].fds[k]);
  programs[i].pid = 0;
}

pid_t spawn(const struct spawn *plan) {
  static pid_t last = 1000000;
  struct spawn_error failure = {.error = ENOENT, .stage = SPAWN_EXEC};
  int slot = 0;
  while (slot < PROGRAMS && programs[slot].pid) slot++;
  if (slot == PROGRAMS) return -EAGAIN;
  if (random_one_in(8)) {
    write_all(plan->error_fd, &failure, sizeof failure);
    return ++last;
  }
  programs[slot].pid = ++last;
  for (int k = 0; k < 3; k++) {
    programs[slot].fds[k] = fcntl(plan->stdio[k], F_DUPFD_CLOEXEC, 3);
    fcntl(programs[slot].fds[k], F_SETFL, fcntl(programs[slot].fds[k], F_GETFL) | O_NONBLOCK);
  }
  return last;
}

pid_t fork_into(int fd) {
  (void)fd;
  return -EAGAIN;
}

const char *spawn_stage_text(int stage) {
  (void)stage;
  return "";
}

void fakes_step(void) {
  static char waste[70000];
  for (int i = 0; i < PROGRAMS; i++) {
    if (!programs[i].pid) continue;
    if (random_one_in(2)) (void)!write(programs[i].fds[1 + random_below(2)], waste, random_below(sizeof waste));
    if (random_one_in(2)) (void)!read(programs[i].fds[0], waste, random_below(sizeof waste));
    if (!random_one_in(6)) continue;
    pid_t pid = programs[i].pid;
    close_program(i);
    proc_reaped(pid, random_one_in(2) ? SIGKILL : (int)random_below(256) << 8);
  }
}

void fakes_reset(void) {
  for (int i = 0; i < PROGRAMS; i++)
    if (programs[i].pid) close_program(i);
}

int fuzz_kill(pid_t pid, int number);
int fuzz_kill(pid_t pid, int number) {
  (void)pid;
  (void)number;
  return 0;
}

/* The stream of everything on files. */
struct echo {
  struct stream stream;
  uint64_t got;
  uint64_t sent;
};

static struct echo *of(struct stream *s) { return container_of(s, struct echo, stream); }

static void echo_data(struct stream *s, uint64_t offset, const uint8_t *bytes, size_t len) {
  volatile uint8_t sum = 0;
  for (size_t i = 0; i < len; i++) sum = (uint8_t)(sum + bytes[i]);
  if (offset != of(s)->got) {
    stream_reset(s, EPROTO, "gap");
    return;
  }
  of(s)->got += len;
  stream_ready(s);
}

static void echo_eof(struct stream *s, uint64_t length) {
  (void)length;
  stream_end(s);
}

static enum produced echo_produce(struct stream *s) {
  if (of(s)->sent >= of(s)->got) return PRODUCED_NOTHING;
  struct buf *b = frame_begin(FRAME_DATA, CHANNEL_OUT, s->id, of(s)->sent);
  buf_raw(b, "x", 1);
  if (b) frame_end();
  of(s)->sent++;
  return PRODUCED_FRAME;
}

static void echo_closed(struct stream *s) { free(of(s)); }

static const struct stream_ops echo_ops = {
    .data = echo_data, .eof = echo_eof, .produce = echo_produce, .closed = echo_closed};

static void fake(const struct request *rq) {
  char text[64];
  char **list;
  size_t count;
  uint64_t v;
  for (uint16_t key = 0; key < 110; key++) {
    field_u64(rq->fields, key, 0, &v);
    field_text(rq->fields, key, text, sizeof text);
    if (field_list(rq->fields, key, &list, &count) == 0) free(list);
  }
  struct echo *e = calloc(1, sizeof *e);
  int error = e ? stream_open(&e->stream, rq->reply.stream, &echo_ops) : ENOMEM;
  if (error) free(e);
  if (error) reply_error(rq->reply, error, NULL);
  else reply_ok(rq->reply);
}

#define FAKE(name) \
  void name(const struct request *rq) { fake(rq); }
FAKE(op_file_stat)
FAKE(op_file_list)
FAKE(op_file_read)
FAKE(op_file_write)
FAKE(op_file_mkdir)
FAKE(op_file_remove)
FAKE(op_file_rename)
FAKE(op_watch)
FAKE(op_tunnel)
FAKE(op_hooks_run)
FAKE(op_metrics)
FAKE(op_sync)
FAKE(op_fs_freeze)
FAKE(op_fs_thaw)
FAKE(op_shutdown)

void fs_freeze_end(void) {}

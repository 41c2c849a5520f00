#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"
#include "loop.h"
#include "out.h"
#include "spawn.h"
#include "text.h"

#define HELPER_LIMIT 16

typedef void helper_after(const struct request *rq);

struct helper {
  pid_t pid;
  struct source source;
  struct reply reply;
  uint8_t *answer;
  size_t len;
  struct helper *next;
};

static struct helper *helpers;
static unsigned count;

void put_result(struct buf *b, int error, const char *message) {
  if (error < 0) error = -error;
  put_u64_field(b, F_ERRNO, (uint64_t)error);
  if (error) put_text_field(b, F_MESSAGE, message ? message : strerror(error));
}

static void helper_done(struct helper *h) {
  for (struct helper **place = &helpers; *place; place = &(*place)->next) {
    if (*place != h) continue;
    *place = h->next;
    break;
  }
  source_close(&h->source);
  munmap(h->answer, FRAME_PAYLOAD_MAX);
  free(h);
  count--;
}

static void on_answer(struct source *s, uint32_t events) {
  struct helper *h = container_of(s, struct helper, source);
  (void)events;
  ssize_t n = read(s->fd, h->answer + h->len, FRAME_PAYLOAD_MAX - h->len);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n > 0) {
    h->len += (size_t)n;
    return;
  }
  if (h->len == 0) {
    reply_error(h->reply, EIO, "the helper process died");
  } else if (h->reply.session == session_serial()) {
    struct buf *b = frame_begin(FRAME_RESPONSE, 0, h->reply.stream, 0);
    buf_raw(b, h->answer, h->len);
    if (b) frame_end();
  }
  helper_done(h);
}

static void in_helper(const struct request *rq, helper_fn *work, helper_after *after, uint8_t *answer, int fd) {
  struct buf b = {.at = answer, .cap = FRAME_PAYLOAD_MAX};
  work(rq, &b);
  if (b.full) {
    b = (struct buf){.at = answer, .cap = FRAME_PAYLOAD_MAX};
    put_result(&b, EMSGSIZE, "the answer does not fit into a frame");
  }
  write_all(fd, b.at, b.len);
  close(fd);
  if (after) after(rq);
  _exit(0);
}

static int start(const struct request *rq, helper_fn *work, helper_after *after, pid_t *pid) {
  int ends[2];
  if (count >= HELPER_LIMIT) return EAGAIN;
  struct helper *h = calloc(1, sizeof *h);
  if (!h) return ENOMEM;
  h->answer = mmap(NULL, FRAME_PAYLOAD_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (h->answer == MAP_FAILED || pipe2(ends, O_CLOEXEC) < 0) {
    int error = errno;
    if (h->answer != MAP_FAILED) munmap(h->answer, FRAME_PAYLOAD_MAX);
    free(h);
    return error;
  }
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  h->reply = rq->reply;
  h->pid = fork_into(-1);
  if (h->pid == 0) in_helper(rq, work, after, h->answer, ends[1]);
  *pid = h->pid;
  close(ends[1]);
  h->next = helpers;
  helpers = h;
  count++;
  int error = -source_add(&h->source, ends[0], EPOLLIN, on_answer);
  if (h->pid < 0) error = -h->pid;
  if (error) helper_done(h);
  return error;
}

pid_t helper_run(const struct request *rq, helper_fn *work, helper_after *after) {
  pid_t pid = 0;
  int error = start(rq, work, after, &pid);
  if (!error) return pid;
  reply_error(rq->reply, error, "no helper process can be started");
  return 0;
}

bool helper_reaped(pid_t pid) {
  for (struct helper *h = helpers; h; h = h->next)
    if (h->pid == pid) return true; /* its pipe says the rest */
  return false;
}

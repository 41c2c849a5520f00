#include "sink.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "loop.h"

#define SINK_LIMIT 64

static unsigned count;

static void on_waste(struct source *s, uint32_t events) {
  char waste[4096];
  (void)events;
  ssize_t n = read(s->fd, waste, sizeof waste);
  if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR))) return;
  source_close(s);
  free(s);
  count--;
}

void sink_adopt(int fd) {
  struct source *s = count < SINK_LIMIT ? malloc(sizeof *s) : NULL;
  if (fd < 0) {
    free(s);
    return;
  }
  if (!s || source_add(s, fd, EPOLLIN, on_waste) < 0) {
    free(s);
    close(fd);
    return;
  }
  count++;
}

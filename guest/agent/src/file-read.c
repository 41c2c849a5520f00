/* file.read: straight from the file into frames, a window at a time. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file-paths.h"
#include "ops.h"
#include "out.h"
#include "stream.h"
#include "text.h"

#define DATA_BYTES (32768u - FRAME_HEADER_BYTES)

struct reading {
  struct stream stream;
  int fd;
  uint64_t from; /* where the channel's offset 0 lies in the file */
  uint64_t left;
  uint64_t sent;
  uint64_t acked;
};

static struct reading *of(struct stream *s) { return container_of(s, struct reading, stream); }

static enum produced reading_produce(struct stream *s) {
  struct reading *r = of(s);
  uint64_t window = WINDOW_BYTES - (r->sent - r->acked);
  uint64_t want = r->left < DATA_BYTES ? r->left : DATA_BYTES;
  if (want > 0 && window == 0) return PRODUCED_NOTHING;
  if (want > window) want = window;
  struct buf *b = frame_begin(FRAME_DATA, CHANNEL_OUT, s->id, r->sent);
  if (!b) return PRODUCED_NOTHING;
  ssize_t n = want > 0 ? pread(r->fd, b->at, (size_t)want, (off_t)(r->from + r->sent)) : 0;
  if (n < 0) {
    stream_reset(s, errno, NULL);
    return PRODUCED_END;
  }
  if (n > 0) {
    b->len = (size_t)n;
    frame_end();
    r->sent += (uint64_t)n;
    r->left -= (uint64_t)n;
    return PRODUCED_FRAME;
  }
  frame_empty(FRAME_EOF, CHANNEL_OUT, s->id, r->sent);
  stream_end(s);
  return PRODUCED_END;
}

static void reading_ack(struct stream *s, uint8_t channel, uint64_t count) {
  struct reading *r = of(s);
  if (channel != CHANNEL_OUT || count > r->sent) {
    stream_reset(s, EPROTO, "acknowledged more than was sent");
    return;
  }
  if (count > r->acked) r->acked = count;
  stream_ready(s);
}

static void reading_closed(struct stream *s) {
  struct reading *r = of(s);
  close(r->fd);
  free(r);
}

static const struct stream_ops reading_ops = {
    .ack = reading_ack, .produce = reading_produce, .closed = reading_closed};

static int open_file(const struct request *rq, struct stat *st) {
  char path[PATH_MAX];
  int error = file_path(rq->fields, F_PATH, path);
  if (error) return error;
  /* Without O_NONBLOCK a pipe would hold up the whole agent. */
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return -errno;
  error = fstat(fd, st) < 0 ? -errno : S_ISDIR(st->st_mode) ? -EISDIR : !S_ISREG(st->st_mode) ? -EINVAL : 0;
  if (!error) return fd;
  close(fd);
  return error;
}

void op_file_read(const struct request *rq) {
  uint64_t offset, limit;
  struct stat st;
  int error = field_u64(rq->fields, F_OFFSET, 0, &offset);
  if (!error) error = field_u64(rq->fields, F_LIMIT, UINT64_MAX, &limit);
  if (!error && offset > INT64_MAX) error = -EINVAL;
  int fd = error ? error : open_file(rq, &st);
  if (fd < 0) {
    reply_error(rq->reply, fd, NULL);
    return;
  }
  struct reading *r = calloc(1, sizeof *r);
  error = r ? stream_open(&r->stream, rq->reply.stream, &reading_ops) : ENOMEM;
  if (error) {
    free(r);
    close(fd);
    reply_error(rq->reply, error, NULL);
    return;
  }
  r->fd = fd;
  r->from = offset;
  r->left = limit;
  struct buf *b = reply_begin(rq->reply);
  put_u64_field(b, F_SIZE, (uint64_t)st.st_size);
  reply_end(rq->reply, b);
  stream_ready(&r->stream);
}

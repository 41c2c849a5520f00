#include "stream.h"

#include <errno.h>
#include <string.h>

#include "fields.h"
#include "frame.h"
#include "out.h"

#define STREAM_LIMIT 256
#define ENDED_KEPT 64

static struct stream *streams;
static unsigned stream_count;
static struct stream *ready_first;
static struct stream *ready_last;
static uint32_t ended[ENDED_KEPT];
static unsigned ended_at;

int stream_open(struct stream *s, uint32_t id, const struct stream_ops *ops) {
  if (stream_count >= STREAM_LIMIT) return EMFILE;
  s->id = id;
  s->ops = ops;
  s->ready = false;
  s->next = streams;
  streams = s;
  stream_count++;
  return 0;
}

static void take_from_ready(struct stream *s) {
  if (!s->ready) return;
  s->ready = false;
  struct stream *before = NULL;
  for (struct stream *walk = ready_first; walk != s; walk = walk->next_ready) before = walk;
  if (before) before->next_ready = s->next_ready;
  else ready_first = s->next_ready;
  if (ready_last == s) ready_last = before;
}

void stream_end(struct stream *s) {
  for (struct stream **place = &streams; *place; place = &(*place)->next) {
    if (*place != s) continue;
    *place = s->next;
    stream_count--;
    break;
  }
  take_from_ready(s);
  ended[ended_at] = s->id;
  ended_at = (ended_at + 1) % ENDED_KEPT;
  s->ops->closed(s);
}

void stream_send_reset(uint32_t id, int error, const char *message) {
  struct buf *b = frame_begin(FRAME_RESET, 0, id, 0);
  if (!b) return;
  put_u64_field(b, F_ERRNO, (uint64_t)error);
  put_text_field(b, F_MESSAGE, message ? message : strerror(error));
  frame_end();
}

void stream_reset(struct stream *s, int error, const char *message) {
  stream_send_reset(s->id, error, message);
  stream_end(s);
}

void stream_ready(struct stream *s) {
  if (s->ready) return;
  s->ready = true;
  s->next_ready = NULL;
  if (ready_last) ready_last->next_ready = s;
  else ready_first = s;
  ready_last = s;
}

struct stream *stream_find(uint32_t id) {
  struct stream *s = streams;
  while (s && s->id != id) s = s->next;
  return s;
}

bool stream_ended_lately(uint32_t id) {
  for (unsigned i = 0; i < ENDED_KEPT; i++)
    if (ended[i] == id) return id != 0;
  return false;
}

void stream_end_all(void) {
  while (streams) stream_end(streams);
  memset(ended, 0, sizeof ended);
}

bool stream_produce(void) {
  bool any = false;
  while (ready_first && out_queued() < OUT_LOW_BYTES) {
    struct stream *s = ready_first;
    take_from_ready(s);
    enum produced produced = s->ops->produce ? s->ops->produce(s) : PRODUCED_NOTHING;
    if (produced != PRODUCED_NOTHING) any = true;
    if (produced == PRODUCED_FRAME) stream_ready(s);
  }
  return any;
}

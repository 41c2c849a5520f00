/* Streams of the link session: one per request that stays open. */
#ifndef RAMET_STREAM_H
#define RAMET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stream;

enum produced {
  PRODUCED_NOTHING, /* ask again after stream_ready */
  PRODUCED_FRAME,   /* ask again at its turn */
  PRODUCED_END,     /* the stream is gone */
};

struct stream_ops {
  /* What the host sends; NULL = wrong for this stream. `offset` and `len` are unchecked. */
  void (*data)(struct stream *s, uint64_t offset, const uint8_t *bytes, size_t len);
  void (*eof)(struct stream *s, uint64_t length);
  void (*ack)(struct stream *s, uint8_t channel, uint64_t count);
  /* Queues at most one frame; called while the link takes bytes. */
  enum produced (*produce)(struct stream *s);
  /* The stream is over, for whatever reason: release what belongs to it. */
  void (*closed)(struct stream *s);
};

struct stream {
  uint32_t id;
  const struct stream_ops *ops;
  struct stream *next;
  struct stream *next_ready;
  bool ready;
};

/* 0, or EMFILE when the session has as many as it may have. */
int stream_open(struct stream *s, uint32_t id, const struct stream_ops *ops);
void stream_end(struct stream *s);
/* Tells the host, then ends it. */
void stream_reset(struct stream *s, int error, const char *message);
void stream_ready(struct stream *s);
struct stream *stream_find(uint32_t id);
/* True when a stream of that number ended not long ago: what the host sent before it knew is ignored. */
bool stream_ended_lately(uint32_t id);
/* Ends all, telling nobody: the session is over. */
void stream_end_all(void);
/* Lets ready streams queue frames, in turns, up to the low mark of the queue. True when any did. */
bool stream_produce(void);
/* The RESET frame alone. */
void stream_send_reset(uint32_t id, int error, const char *message);

#endif

#include "session.h"

#include <errno.h>
#include <string.h>

#include "agent.h"
#include "dispatch.h"
#include "out.h"
#include "stream.h"
#include "text.h"

static uint32_t serial;
static unsigned version;

uint32_t session_serial(void) { return serial; }
unsigned session_version(void) { return version; }

void session_end(void) {
  version = 0;
  serial++;
  stream_end_all();
  out_reset();
}

void session_begin(const uint8_t nonce[NONCE_BYTES]) {
  out_raw(link_marker, MARKER_BYTES);
  out_raw(nonce, NONCE_BYTES);
}

void session_bye(int error, const char *message) {
  session_end();
  struct buf *b = frame_begin(FRAME_BYE, 0, 0, 0);
  if (!b) return;
  put_u64_field(b, F_ERRNO, (uint64_t)error);
  put_text_field(b, F_MESSAGE, message);
  frame_end();
}

static bool bad_frame(int error, const char *message) {
  session_bye(error, message);
  return false;
}

static bool hello(const struct frame *f, struct fields fields) {
  uint64_t min, max;
  if (version != 0 || f->stream != 0) return bad_frame(EPROTO, "HELLO out of place");
  if (!fields_valid(fields) || field_u64(fields, F_VERSION_MIN, 0, &min) || field_u64(fields, F_VERSION_MAX, 0, &max))
    return bad_frame(EBADMSG, "HELLO is malformed");
  unsigned chosen = max < PROTOCOL_VERSION_MAX ? (unsigned)max : PROTOCOL_VERSION_MAX;
  bool common = chosen >= PROTOCOL_VERSION_MIN && chosen >= min;
  struct buf *b = frame_begin(FRAME_WELCOME, 0, 0, 0);
  if (!b) return bad_frame(ENOBUFS, "no room for WELCOME");
  put_u64_field(b, F_ERRNO, common ? 0 : EPROTONOSUPPORT);
  if (common) put_u64_field(b, F_VERSION, chosen);
  else put_text_field(b, F_MESSAGE, "no protocol version in common");
  put_u64_field(b, F_VERSION_MIN, PROTOCOL_VERSION_MIN);
  put_u64_field(b, F_VERSION_MAX, PROTOCOL_VERSION_MAX);
  put_text_field(b, F_AGENT_BUILD, AGENT_BUILD);
  put_text_field(b, F_BOOT_ID, agent.boot_id);
  put_u64_field(b, F_GENERATION, agent.generation);
  put_text_field(b, F_INIT_MODE, agent.system_init ? "system" : "agent");
  put_u64_field(b, F_TIME_NS, realtime_ns());
  put_u64_field(b, F_MONOTONIC_NS, monotonic_ns());
  frame_end();
  if (common) version = chosen;
  return common;
}

static void to_stream(const struct frame *f, const uint8_t *payload) {
  struct stream *s = stream_find(f->stream);
  if (!s) {
    if (f->type != FRAME_RESET && !stream_ended_lately(f->stream)) stream_send_reset(f->stream, ENOENT, "no such stream");
    return;
  }
  if (f->type == FRAME_RESET) {
    stream_end(s);
    return;
  }
  bool right = f->type == FRAME_ACK ? f->channel != CHANNEL_IN : f->channel == CHANNEL_IN;
  if (right && f->type == FRAME_DATA && s->ops->data) s->ops->data(s, f->offset, payload, f->length);
  else if (right && f->type == FRAME_EOF && s->ops->eof && f->length == 0) s->ops->eof(s, f->offset);
  else if (right && f->type == FRAME_ACK && s->ops->ack && f->length == 0) s->ops->ack(s, f->channel, f->offset);
  else stream_reset(s, EBADMSG, "the stream has no such frame");
}

bool session_frame(const struct frame *f, const uint8_t *payload) {
  struct fields fields = {.at = payload, .len = f->length};
  if (f->type == FRAME_HELLO) return hello(f, fields);
  if (version == 0) return bad_frame(EPROTO, "a frame before HELLO");
  if (f->stream == 0) return bad_frame(EPROTO, "stream 0 is the session's own");
  switch (f->type) {
    case FRAME_REQUEST: {
      struct stream *open = stream_find(f->stream);
      if (open) stream_reset(open, EEXIST, "the stream is already in use");
      else dispatch(&(struct request){.reply = {.session = serial, .stream = f->stream}, .fields = fields});
      return true;
    }
    case FRAME_DATA:
    case FRAME_ACK:
    case FRAME_EOF:
    case FRAME_RESET:
      to_stream(f, payload);
      return true;
    default:
      return bad_frame(EPROTO, "a frame of that type is not for the guest");
  }
}

struct buf *reply_begin(struct reply to) {
  if (to.session != serial || version == 0) return NULL;
  struct buf *b = frame_begin(FRAME_RESPONSE, 0, to.stream, 0);
  put_u64_field(b, F_ERRNO, 0);
  return b;
}

void reply_end(struct reply to, struct buf *b) {
  if (b && !frame_end()) reply_error(to, EMSGSIZE, "the answer does not fit into a frame");
}

void reply_ok(struct reply to) { reply_end(to, reply_begin(to)); }

void reply_error(struct reply to, int error, const char *message) {
  if (to.session != serial || version == 0) return;
  struct buf *b = frame_begin(FRAME_RESPONSE, 0, to.stream, 0);
  if (!b) return;
  if (error < 0) error = -error;
  put_u64_field(b, F_ERRNO, (uint64_t)error);
  put_text_field(b, F_MESSAGE, message ? message : strerror(error));
  frame_end();
}

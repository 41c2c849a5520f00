#include "receive.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "frame.h"
#include "out.h"
#include "session.h"

#define BUFFER_BYTES 98304u /* a largest frame and a read behind it */

enum state {
  SEEKING, /* for a marker; all else is ignored */
  NONCE,
  FRAMES,
};

static uint8_t *buffer;
static size_t parsed; /* bytes before this are done with */
static size_t filled;
static unsigned matched; /* of the marker, over the ends of reads */
static enum state state;
static bool waiting;

uint8_t *receive_space(size_t *room) {
  *room = 0;
  if (!buffer) {
    void *at = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return NULL;
    buffer = at;
  }
  *room = BUFFER_BYTES - filled;
  return buffer + filled;
}

/* Takes frames that end before the limit. */
static void parse_to(size_t limit) {
  while (parsed < limit) {
    size_t have = limit - parsed;
    if (state == SEEKING) {
      parsed = limit;
    } else if (state == NONCE) {
      if (have < NONCE_BYTES) return;
      session_begin(buffer + parsed);
      parsed += NONCE_BYTES;
      state = FRAMES;
    } else {
      struct frame f;
      if (out_queued() > OUT_HIGH_BYTES) {
        waiting = true;
        return;
      }
      if (have < FRAME_HEADER_BYTES) return;
      if (!frame_decode(buffer + parsed, &f)) {
        session_bye(EBADMSG, "framing error");
        state = SEEKING;
        continue;
      }
      if (have - FRAME_HEADER_BYTES < f.length) return;
      const uint8_t *payload = buffer + parsed + FRAME_HEADER_BYTES;
      parsed += FRAME_HEADER_BYTES + f.length;
      if (!session_frame(&f, payload)) state = SEEKING;
    }
  }
}

static void compact(void) {
  if (parsed == 0) return;
  memmove(buffer, buffer + parsed, filled - parsed);
  filled -= parsed;
  parsed = 0;
}

void receive_bytes(size_t len) {
  size_t from = filled;
  filled += len;
  for (;;) {
    size_t found = marker_scan(&matched, buffer + from, filled - from);
    if (found == 0) break;
    size_t end = from + found;
    /* Whole frames before it were sent in good faith; a frame that reaches into the marker was cut short. */
    parse_to(end > MARKER_BYTES ? end - MARKER_BYTES : 0);
    session_end();
    waiting = false;
    parsed = end;
    from = end;
    state = NONCE;
  }
  parse_to(filled);
  compact();
}

void receive_resume(void) {
  if (!waiting || out_queued() > OUT_HIGH_BYTES / 2) return;
  waiting = false;
  parse_to(filled);
  compact();
}

void receive_reset(void) {
  parsed = filled = 0;
  matched = 0;
  waiting = false;
  state = SEEKING;
  if (buffer) madvise(buffer + 4096, BUFFER_BYTES - 4096, MADV_DONTNEED);
}

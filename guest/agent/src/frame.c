#include "frame.h"

#include <string.h>

const uint8_t link_marker[MARKER_BYTES] = {0xff, 0x00, 0x52, 0x41, 0x4d, 0x45, 0x54, 0xfe,
                                           0x01, 0x4c, 0x49, 0x4e, 0x4b, 0x00, 0xff, 0xfd};

void frame_encode(uint8_t header[FRAME_HEADER_BYTES], const struct frame *f) {
  put_u32(header, f->length);
  header[4] = f->type;
  header[5] = f->channel;
  put_u16(header + 6, 0);
  put_u32(header + 8, f->stream);
  put_u64(header + 12, f->offset);
}

bool frame_decode(const uint8_t header[FRAME_HEADER_BYTES], struct frame *f) {
  f->length = get_u32(header);
  f->type = header[4];
  f->channel = header[5];
  f->stream = get_u32(header + 8);
  f->offset = get_u64(header + 12);
  if (f->length > FRAME_PAYLOAD_MAX || f->type < FRAME_HELLO || f->type > FRAME_BYE) return false;
  if (get_u16(header + 6) != 0 || f->channel > CHANNEL_ERR) return false;
  bool carries = f->type == FRAME_DATA || f->type == FRAME_ACK || f->type == FRAME_EOF;
  return carries || (f->channel == 0 && f->offset == 0);
}

size_t marker_scan(unsigned *matched, const uint8_t *bytes, size_t len) {
  unsigned m = *matched;
  size_t i = 0;
  while (i < len) {
    if (m == 0) {
      const uint8_t *start = memchr(bytes + i, link_marker[0], len - i);
      if (!start) break;
      i = (size_t)(start - bytes) + 1;
      m = 1;
      continue;
    }
    if (bytes[i] == link_marker[m]) {
      i++;
      if (++m == MARKER_BYTES) {
        *matched = 0;
        return i;
      }
      continue;
    }
    /* Only the 15th byte repeats the marker's beginning; from anywhere else the match starts anew. */
    m = m == 15 ? 1 : 0;
  }
  *matched = m;
  return 0;
}

/* Frame headers, the session marker, and the constants of the link (docs/agent-protocol.md, sections 2 and 3). */
#ifndef RAMET_FRAME_H
#define RAMET_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER_BYTES 20u
#define FRAME_PAYLOAD_MAX 65536u
#define MARKER_BYTES 16u
#define NONCE_BYTES 16u
#define WINDOW_BYTES 262144u
#define PROTOCOL_VERSION_MIN 1u
#define PROTOCOL_VERSION_MAX 2u

enum frame_type {
  FRAME_HELLO = 1,
  FRAME_WELCOME = 2,
  FRAME_REQUEST = 3,
  FRAME_RESPONSE = 4,
  FRAME_EVENT = 5,
  FRAME_DATA = 6,
  FRAME_ACK = 7,
  FRAME_EOF = 8,
  FRAME_RESET = 9,
  FRAME_BYE = 10,
};

enum { CHANNEL_IN = 0, CHANNEL_OUT = 1, CHANNEL_ERR = 2 };

struct frame {
  uint32_t length;
  uint8_t type;
  uint8_t channel;
  uint32_t stream;
  uint64_t offset;
};

extern const uint8_t link_marker[MARKER_BYTES];

void frame_encode(uint8_t header[FRAME_HEADER_BYTES], const struct frame *f);
/* False when it is a framing error: too long, unknown type, reserved bits, a field where none belongs. */
bool frame_decode(const uint8_t header[FRAME_HEADER_BYTES], struct frame *f);

/* Feeds bytes to the marker automaton; returns the index after the marker's last byte, or 0 when it is not there. */
size_t marker_scan(unsigned *matched, const uint8_t *bytes, size_t len);

static inline uint16_t get_u16(const uint8_t *p) { return (uint16_t)(p[0] | (uint16_t)(p[1] << 8)); }
static inline uint32_t get_u32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t get_u64(const uint8_t *p) { return get_u32(p) | (uint64_t)get_u32(p + 4) << 32; }
static inline void put_u16(uint8_t *p, uint16_t v) {
  p[0] = (uint8_t)v;
  p[1] = (uint8_t)(v >> 8);
}
static inline void put_u32(uint8_t *p, uint32_t v) {
  put_u16(p, (uint16_t)v);
  put_u16(p + 2, (uint16_t)(v >> 16));
}
static inline void put_u64(uint8_t *p, uint64_t v) {
  put_u32(p, (uint32_t)v);
  put_u32(p + 4, (uint32_t)(v >> 32));
}

#endif

#include "generate.h"

#include <string.h>

#include "../src/fields.h"
#include "../src/frame.h"
#include "random.h"

#define STREAMS 6

static const char *const operations[] = {
    "ping", "proc.start", "proc.start", "proc.attach", "proc.detach", "proc.wait", "proc.signal", "proc.resize", "proc.list",
    "proc.forget", "file.stat", "file.list", "file.read", "file.write", "file.mkdir", "file.remove", "file.rename", "watch",
    "tunnel", "hooks.run", "freeze", "thaw", "identity.apply", "clock.set", "metrics", "sync", "fs.freeze", "fs.thaw",
    "shutdown", "nonsense", ""};
static const char *const texts[] = {"", "a", "/tmp/x", "cat", "root", "nobody:0", "10.0.0.2/24",
                                    "0123456789abcdef0123456789abcdef", "kid", "NAME=value", "=", "/", "relative/path", "pre-snapshot", "fd00::2/64"};
static const uint16_t keys[] = {1, 2, 12, 16, 16, 17, 18, 19, 20, 20, 22, 22, 22, 24, 25, 26, 30, 31, 33, 40, 41, 42, 48, 49, 51,
                                60, 61, 70, 71, 72, 73, 74, 75, 77, 77, 78, 79, 80, 81, 82, 10, 4711};

static uint64_t number(void) {
  switch (random_below(6)) {
    case 0: return random_u64();
    case 1: return UINT64_MAX - random_below(3);
    case 2: return random_below(1000000);
    case 3: return WINDOW_BYTES + random_below(3) - 1;
    default: return random_below(6);
  }
}

static void put_random_bytes(struct buf *b, uint16_t key, size_t len) {
  uint8_t bytes[128];
  if (len > sizeof bytes) len = sizeof bytes;
  for (size_t i = 0; i < len; i++) bytes[i] = (uint8_t)random_u64();
  put_bytes_field(b, key, bytes, len);
}

static void put_random_field(struct buf *b, int depth) {
  uint16_t key = keys[random_below(sizeof keys / sizeof *keys)];
  if (key == F_NIC && depth < 2) {
    size_t mark = record_begin(b, key);
    for (uint32_t n = random_below(6); n-- > 0;) put_random_field(b, depth + 1);
    record_end(b, mark);
    return;
  }
  switch (random_below(5)) {
    case 0: put_text_field(b, key, texts[random_below(sizeof texts / sizeof *texts)]); break;
    case 1: put_random_bytes(b, key, key == F_SEED ? 64 : key == F_MAC ? 6 : random_below(40)); break;
    default:
      if (key >= 16 && key <= 19) put_text_field(b, key, texts[random_below(sizeof texts / sizeof *texts)]);
      else put_u64_field(b, key, number());
  }
}

static void put_request(struct buf *b) {
  put_text_field(b, F_OP, operations[random_below(sizeof operations / sizeof *operations)]);
  if (random_one_in(2)) {
    put_text_field(b, F_ARG, "cat");
    put_u64_field(b, F_FLAGS, random_below(64));
    put_text_field(b, F_PATH, "/tmp/x");
    put_u64_field(b, F_PROCESS_ID, 1 + random_below(8));
  }
  for (uint32_t n = random_below(8); n-- > 0;) put_random_field(b, 0);
}

/* A frame that is right more often than not. */
static size_t put_frame(uint8_t *dst, size_t cap) {
  static const uint8_t types[] = {3, 3, 3, 3, 6, 6, 6, 7, 7, 8, 9, 1, 2, 4, 5, 10};
  struct frame f = {.type = types[random_below(sizeof types)], .stream = 1 + random_below(STREAMS)};
  struct buf b = {.at = dst + FRAME_HEADER_BYTES, .cap = cap - FRAME_HEADER_BYTES};
  if (f.type == FRAME_REQUEST) {
    f.stream = random_one_in(4) ? f.stream : (uint32_t)random_below(100000) + 1;
    if (random_one_in(3)) f.stream = 1 + random_below(STREAMS);
    put_request(&b);
  } else if (f.type == FRAME_DATA) {
    static uint64_t reached;
    size_t len = random_one_in(4) ? random_below(5000) : random_below(60);
    f.offset = random_one_in(3) ? number() : reached;
    reached = random_one_in(8) ? 0 : f.offset + len;
    if (len > b.cap) len = b.cap;
    memset(b.at, 'x', len);
    b.len = len;
  } else if (f.type == FRAME_ACK || f.type == FRAME_EOF) {
    f.channel = (uint8_t)random_below(3);
    f.offset = number();
  } else if (f.type == FRAME_HELLO) {
    f.stream = 0;
    put_u64_field(&b, F_VERSION_MIN, random_below(3));
    put_u64_field(&b, F_VERSION_MAX, random_below(5));
  }
  if (b.full) return 0;
  f.length = (uint32_t)b.len;
  frame_encode(dst, &f);
  return FRAME_HEADER_BYTES + b.len;
}

static size_t put_opening(uint8_t *dst) {
  memcpy(dst, link_marker, MARKER_BYTES);
  for (size_t i = 0; i < NONCE_BYTES; i++) dst[MARKER_BYTES + i] = (uint8_t)random_u64();
  struct frame f = {.type = FRAME_HELLO};
  struct buf b = {.at = dst + 32 + FRAME_HEADER_BYTES, .cap = 64};
  put_u64_field(&b, F_VERSION_MIN, 1);
  put_u64_field(&b, F_VERSION_MAX, 1 + random_below(3));
  f.length = (uint32_t)b.len;
  frame_encode(dst + 32, &f);
  return 32 + FRAME_HEADER_BYTES + b.len;
}

static size_t damage(uint8_t *at, size_t len, size_t cap) {
  if (len == 0) return len;
  uint32_t where = random_below((uint32_t)len);
  switch (random_below(5)) {
    case 0: at[where] ^= (uint8_t)(1u << random_below(8)); break;
    case 1: at[where] = (uint8_t)random_u64(); break;
    case 2: return where; /* cut off */
    case 3: { /* a marker, or the beginning of one, in the middle of anything */
      size_t n = 1 + random_below(MARKER_BYTES);
      if (where + n <= len) memcpy(at + where, link_marker, n);
      break;
    }
    default: { /* some of it twice */
      size_t n = random_below((uint32_t)(len - where)) + 1;
      if (len + n > cap) return len;
      memmove(at + where + n, at + where, len - where);
      return len + n;
    }
  }
  return len;
}

size_t generate(uint8_t *dst, size_t cap) {
  size_t len = 0;
  for (uint32_t sessions = 1 + random_below(3); sessions-- > 0;) {
    if (cap - len < 8192) break;
    if (!random_one_in(10)) len += put_opening(dst + len);
    for (uint32_t frames = random_below(25); frames-- > 0 && cap - len > 8192;) len += put_frame(dst + len, cap - len);
    if (random_one_in(2)) len = damage(dst, len, cap);
  }
  for (uint32_t n = random_one_in(2) ? random_below(6) : 0; n-- > 0;) len = damage(dst, len, cap);
  return len;
}

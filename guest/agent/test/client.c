#include "client.h"

#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../src/text.h"
#include "check.h"

static int fd = -1;
static uint32_t last_stream;
static uint8_t request[FRAME_PAYLOAD_MAX];
static struct buf request_buf;
static struct message current;

static void read_all(void *dst, size_t len) {
  for (char *at = dst; len > 0;) {
    ssize_t n = read(fd, at, len);
    CHECK(n > 0);
    at += n;
    len -= (size_t)n;
  }
}

void client_frame(uint8_t type, uint8_t channel, uint32_t stream, uint64_t offset, const void *payload, size_t len) {
  uint8_t header[FRAME_HEADER_BYTES];
  struct frame f = {.length = (uint32_t)len, .type = type, .channel = channel, .stream = stream, .offset = offset};
  frame_encode(header, &f);
  CHECK(write_all(fd, header, sizeof header) == 0 && write_all(fd, payload, len) == 0);
}

void client_open(const char *path, unsigned version) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  uint8_t opening[MARKER_BYTES + NONCE_BYTES], answer[sizeof opening];
  strcpy(address.sun_path, path);
  fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
  memcpy(opening, link_marker, MARKER_BYTES);
  CHECK(getrandom(opening + MARKER_BYTES, NONCE_BYTES, 0) == NONCE_BYTES);
  CHECK(write_all(fd, opening, sizeof opening) == 0);
  request_buf = (struct buf){.at = request, .cap = sizeof request};
  put_u64_field(&request_buf, F_VERSION_MIN, 1);
  put_u64_field(&request_buf, F_VERSION_MAX, version);
  client_frame(FRAME_HELLO, 0, 0, 0, request, request_buf.len);
  read_all(answer, sizeof answer);
  CHECK(memcmp(answer, opening, sizeof answer) == 0);
  uint64_t error;
  const struct message *welcome = client_next();
  CHECK(welcome->frame.type == FRAME_WELCOME && field_u64(welcome->fields, F_ERRNO, 1, &error) == 0 && error == 0);
}

void client_close(void) { close(fd); }

struct buf *client_request(const char *op, uint32_t *stream) {
  request_buf = (struct buf){.at = request, .cap = sizeof request};
  put_text_field(&request_buf, F_OP, op);
  *stream = ++last_stream;
  return &request_buf;
}

void client_send(void) { client_frame(FRAME_REQUEST, 0, last_stream, 0, request, request_buf.len); }

const struct message *client_next(void) {
  uint8_t header[FRAME_HEADER_BYTES];
  read_all(header, sizeof header);
  CHECK(frame_decode(header, &current.frame));
  read_all(current.payload, current.frame.length);
  current.fields = (struct fields){current.payload, current.frame.length};
  return &current;
}

const struct message *client_await(uint8_t type, uint32_t stream) {
  const struct message *m = client_next();
  while (m->frame.type != type || m->frame.stream != stream) m = client_next();
  return m;
}

uint64_t client_errno(uint32_t stream) {
  uint64_t error;
  CHECK(field_u64(client_await(FRAME_RESPONSE, stream)->fields, F_ERRNO, UINT64_MAX, &error) == 0);
  return error;
}

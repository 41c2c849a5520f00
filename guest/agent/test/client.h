/* A minimal host for the tests: one session, blocking. */
#ifndef RAMET_TEST_CLIENT_H
#define RAMET_TEST_CLIENT_H

#include "../src/fields.h"
#include "../src/frame.h"

struct message {
  struct frame frame;
  uint8_t payload[FRAME_PAYLOAD_MAX];
  struct fields fields;
};

void client_open(const char *path, unsigned version);
void client_close(void);
/* Begins a request; fields go into the buffer, then client_send. Returns the stream in *stream. */
struct buf *client_request(const char *op, uint32_t *stream);
void client_send(void);
void client_frame(uint8_t type, uint8_t channel, uint32_t stream, uint64_t offset, const void *payload, size_t len);
/* The next message; it is valid until the next call. */
const struct message *client_next(void);
/* The next message of that type in that stream; others are dropped. */
const struct message *client_await(uint8_t type, uint32_t stream);
/* Awaits the RESPONSE and returns its errno. */
uint64_t client_errno(uint32_t stream);

#endif

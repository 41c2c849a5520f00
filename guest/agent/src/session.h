/* The link session: HELLO and WELCOME, frames to streams and requests, BYE. */
#ifndef RAMET_SESSION_H
#define RAMET_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "fields.h"
#include "frame.h"

/* Where an answer goes: kept by work that outlasts the session, whose answer then goes nowhere. */
struct reply {
  uint32_t session;
  uint32_t stream;
};

struct request {
  struct reply reply;
  struct fields fields;
};

/* A marker and its nonce have come: the old session is over, the new one is answered. */
void session_begin(const uint8_t nonce[NONCE_BYTES]);
/* Ends streams and drops queued output. */
void session_end(void);
/* A whole frame. False when it is a framing error; BYE is queued then. */
bool session_frame(const struct frame *f, const uint8_t *payload);
/* Queues BYE and ends the session. */
void session_bye(int error, const char *message);
/* 0 before WELCOME. */
unsigned session_version(void);
uint32_t session_serial(void);

/* Begins a RESPONSE with its errno; NULL when the session it belongs to is over. End it with reply_end. */
struct buf *reply_begin(struct reply to);
/* Also when reply_begin gave NULL. An answer that is too large becomes EMSGSIZE. */
void reply_end(struct reply to, struct buf *b);
void reply_ok(struct reply to);
/* `message` NULL = the errno's own text. Error may be negative. */
void reply_error(struct reply to, int error, const char *message);

#endif

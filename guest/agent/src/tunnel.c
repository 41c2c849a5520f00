/* tunnel: a TCP connection to a port of the guest. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop.h"
#include "ops.h"
#include "out.h"
#include "ring.h"
#include "stream.h"
#include "text.h"

#define DATA_BYTES (32768u - FRAME_HEADER_BYTES)
#define ACK_EVERY (WINDOW_BYTES / 4)

union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

struct tunnel {
  struct stream stream;
  struct source source;
  struct ring in; /* towards the socket; its head counts what was passed on */
  uint64_t in_acked;
  bool in_eof;
  bool in_done; /* the half-close has been passed on */
  uint64_t sent;
  uint64_t acked;
  bool readable;
  bool out_done;
  bool connecting;
  bool try_v6_next;
  uint16_t port;
};

static struct tunnel *of(struct stream *s) { return container_of(s, struct tunnel, stream); }

static void on_socket(struct source *s, uint32_t events);

static void want(struct tunnel *t) {
  uint32_t events = 0;
  bool window = t->sent - t->acked < WINDOW_BYTES;
  if (t->connecting || ring_used(&t->in) > 0) events |= EPOLLOUT;
  if (!t->connecting && !t->out_done && !t->readable && window) events |= EPOLLIN;
  source_want(&t->source, events);
}

static void tunnel_closed(struct stream *s) {
  struct tunnel *t = of(s);
  source_close(&t->source);
  ring_free(&t->in);
  free(t);
}

/* 0 or errno; EINPROGRESS is 0. */
static int connect_to(struct tunnel *t, const union address *address) {
  socklen_t len = address->any.sa_family == AF_INET ? sizeof address->v4 : sizeof address->v6;
  int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int one = 1;
  if (fd < 0) return errno;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  int error = connect(fd, &address->any, len) < 0 && errno != EINPROGRESS ? errno : 0;
  if (!error) error = -source_add(&t->source, fd, EPOLLOUT, on_socket);
  if (error) close(fd);
  t->connecting = true;
  return error;
}

static int connect_loopback_v6(struct tunnel *t) {
  union address address = {.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(t->port), .sin6_addr = IN6ADDR_LOOPBACK_INIT}};
  t->try_v6_next = false;
  return connect_to(t, &address);
}

static void connected(struct tunnel *t) {
  struct reply to = {.session = session_serial(), .stream = t->stream.id};
  int error = 0;
  socklen_t len = sizeof error;
  getsockopt(t->source.fd, SOL_SOCKET, SO_ERROR, &error, &len);
  if (error && t->try_v6_next) {
    source_close(&t->source);
    if (connect_loopback_v6(t) == 0) return;
  }
  if (error) {
    reply_error(to, error, NULL);
    stream_end(&t->stream);
    return;
  }
  t->connecting = false;
  reply_ok(to);
  want(t);
}

/* Returns false when the tunnel is gone. */
static bool finish_if_done(struct tunnel *t) {
  if (!t->in_done || !t->out_done) return true;
  stream_end(&t->stream);
  return false;
}

static void pass_on(struct tunnel *t) {
  while (ring_used(&t->in) > 0) {
    size_t piece;
    const uint8_t *at = ring_read_at(&t->in, t->in.head, &piece);
    ssize_t n = send(t->source.fd, at, piece, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) {
      stream_reset(&t->stream, errno, NULL);
      return;
    }
    ring_drop_to(&t->in, t->in.head + (uint64_t)n);
  }
  if (t->in.head - t->in_acked >= ACK_EVERY) {
    t->in_acked = t->in.head;
    frame_empty(FRAME_ACK, CHANNEL_IN, t->stream.id, t->in_acked);
  }
  if (t->in_eof && !t->in_done && ring_used(&t->in) == 0) {
    shutdown(t->source.fd, SHUT_WR);
    t->in_done = true;
    if (!finish_if_done(t)) return;
  }
  want(t);
}

static void on_socket(struct source *s, uint32_t events) {
  struct tunnel *t = container_of(s, struct tunnel, source);
  if (t->connecting) {
    connected(t);
    return;
  }
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
    t->readable = true;
    stream_ready(&t->stream);
  }
  if ((events & EPOLLOUT) && ring_used(&t->in) > 0) pass_on(t);
  else want(t);
}

static enum produced tunnel_produce(struct stream *s) {
  struct tunnel *t = of(s);
  uint64_t window = WINDOW_BYTES - (t->sent - t->acked);
  if (t->connecting || !t->readable || t->out_done || window == 0) return PRODUCED_NOTHING;
  struct buf *b = frame_begin(FRAME_DATA, CHANNEL_OUT, s->id, t->sent);
  if (!b) return PRODUCED_NOTHING;
  ssize_t n = recv(t->source.fd, b->at, window < DATA_BYTES ? (size_t)window : DATA_BYTES, 0);
  if (n < 0 && errno == EINTR) return PRODUCED_FRAME;
  if (n < 0 && errno == EAGAIN) {
    t->readable = false;
    want(t);
    return PRODUCED_NOTHING;
  }
  if (n < 0) {
    stream_reset(s, errno, NULL);
    return PRODUCED_END;
  }
  if (n > 0) {
    b->len = (size_t)n;
    frame_end();
    t->sent += (uint64_t)n;
    return PRODUCED_FRAME;
  }
  frame_empty(FRAME_EOF, CHANNEL_OUT, s->id, t->sent);
  t->out_done = true;
  want(t);
  return finish_if_done(t) ? PRODUCED_FRAME : PRODUCED_END;
}

static void tunnel_data(struct stream *s, uint64_t offset, const uint8_t *bytes, size_t len) {
  struct tunnel *t = of(s);
  if (t->connecting || t->in_eof || offset != t->in.tail) stream_reset(s, EPROTO, "the data has a gap");
  else if (!ring_put(&t->in, bytes, len)) stream_reset(s, ENOBUFS, "the data is beyond the window");
  else pass_on(t);
}

static void tunnel_eof(struct stream *s, uint64_t length) {
  struct tunnel *t = of(s);
  if (t->in_eof) return;
  if (t->connecting || length != t->in.tail) {
    stream_reset(s, EPROTO, "the end is not where the data ends");
    return;
  }
  t->in_eof = true;
  pass_on(t);
}

static void tunnel_ack(struct stream *s, uint8_t channel, uint64_t count) {
  struct tunnel *t = of(s);
  if (channel != CHANNEL_OUT || count > t->sent) {
    stream_reset(s, EPROTO, "acknowledged more than was sent");
    return;
  }
  if (count > t->acked) t->acked = count;
  stream_ready(s);
  want(t);
}

static const struct stream_ops tunnel_ops = {.data = tunnel_data, .eof = tunnel_eof, .ack = tunnel_ack,
                                             .produce = tunnel_produce, .closed = tunnel_closed};

/* No address = IPv4 loopback, then IPv6. Names are not looked up. */
static bool parse_address(const char *text, uint16_t port, union address *out, bool *try_v6_next) {
  memset(out, 0, sizeof *out);
  *try_v6_next = !text[0] || strcmp(text, "localhost") == 0;
  if (*try_v6_next) text = "127.0.0.1";
  if (inet_pton(AF_INET, text, &out->v4.sin_addr) == 1) {
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons(port);
    return true;
  }
  out->v6.sin6_family = AF_INET6;
  out->v6.sin6_port = htons(port);
  return inet_pton(AF_INET6, text, &out->v6.sin6_addr) == 1;
}

void op_tunnel(const struct request *rq) {
  char text[64];
  uint64_t port;
  union address address;
  bool try_v6_next;
  if (field_u64(rq->fields, F_PORT, 0, &port) || port == 0 || port > 65535 ||
      field_text(rq->fields, F_ADDRESS, text, sizeof text) ||
      !parse_address(text, (uint16_t)port, &address, &try_v6_next)) {
    reply_error(rq->reply, EINVAL, "no such address or port");
    return;
  }
  struct tunnel *t = calloc(1, sizeof *t);
  int error = t ? stream_open(&t->stream, rq->reply.stream, &tunnel_ops) : ENOMEM;
  if (error) {
    free(t);
    reply_error(rq->reply, error, NULL);
    return;
  }
  t->source.fd = -1;
  t->port = (uint16_t)port;
  t->try_v6_next = try_v6_next;
  ring_init(&t->in, WINDOW_BYTES);
  error = connect_to(t, &address);
  if (error && t->try_v6_next) error = connect_loopback_v6(t);
  if (!error) return;
  reply_error(rq->reply, error, NULL);
  stream_end(&t->stream);
}

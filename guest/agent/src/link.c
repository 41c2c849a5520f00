#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "loop.h"
#include "out.h"
#include "port.h"
#include "receive.h"
#include "session.h"
#include "stream.h"

#define READ_BYTES 32768u
#define READS_PER_TURN 8

static struct source wire = {.fd = -1};
static struct source arrivals = {.fd = -1}; /* uevents, or the listening socket */
static bool readable;
static bool is_socket;
static bool host_seen; /* since then the kernel has said that a host is connected */

static void wire_lost(void) {
  readable = false;
  host_seen = false;
  receive_reset();
  session_end();
  if (is_socket) source_close(&wire);
}

/*
 * Edge-triggered: a virtio port without a host reports EPOLLHUP all the time, and reports an edge when a host opens it.
 */
static void on_wire(struct source *s, uint32_t events) {
  (void)s;
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable = true;
}

static void wire_up(int fd) {
  if (source_add(&wire, fd, EPOLLIN | EPOLLOUT | EPOLLET, on_wire) < 0) source_close(&wire);
  readable = true;
}

static void look_for_port(struct source *s, uint32_t events) {
  (void)events;
  if (s) port_events_drain(s->fd);
  if (wire.fd >= 0) return;
  int fd = port_open();
  if (fd < 0) return;
  wire_up(fd);
  log_line("ready", NULL);
}

void link_use_port(void) {
  int fd = port_events_open();
  if (fd < 0 || source_add(&arrivals, fd, EPOLLIN, look_for_port) < 0) log_errno("cannot watch", "for the port", errno);
  look_for_port(NULL, 0);
  if (wire.fd < 0) log_line("waiting for the port org.ramet.agent.0", NULL);
}

static void on_connection(struct source *s, uint32_t events) {
  (void)events;
  int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  if (wire.fd >= 0) wire_lost();
  wire_up(fd);
}

int link_use_socket(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  unlink(path);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4) < 0) {
    int error = -errno;
    close(fd);
    return error;
  }
  is_socket = true;
  return source_add(&arrivals, fd, EPOLLIN, on_connection);
}

static void take_in(void) {
  for (int i = 0; readable && i < READS_PER_TURN; i++) {
    size_t room;
    uint8_t *at = receive_space(&room);
    if (room == 0) return; /* frames wait for the queue to shrink */
    ssize_t n = read(wire.fd, at, room < READ_BYTES ? room : READ_BYTES);
    if (n > 0) {
      receive_bytes((size_t)n);
    } else if (n < 0 && errno == EINTR) {
      continue;
    } else if (n < 0 && errno == EAGAIN) {
      readable = false;
      host_seen = true;
    } else if (n == 0 && !is_socket && !host_seen) {
      /* The first bytes of a new host overtake the message that it is there: what they began must not be dropped. */
      readable = false;
    } else {
      int error = n < 0 ? errno : 0;
      wire_lost();
      if (error == ENODEV && !is_socket) source_close(&wire);
    }
  }
}

/* True when the wire took all and there is more to send. */
static bool give_out(void) {
  for (int i = 0; i < READS_PER_TURN; i++) {
    bool produced = stream_produce();
    if (out_queued() == 0) return false;
    int error = out_flush(wire.fd);
    receive_resume();
    if (error == -EAGAIN) return false; /* an edge comes when it takes bytes again */
    if (error < 0) {
      wire_lost();
      return false;
    }
    if (!produced && out_queued() == 0) return false;
  }
  return true;
}

bool link_turn(void) {
  if (wire.fd < 0) return false;
  take_in();
  if (wire.fd < 0) return false;
  bool more_out = give_out();
  /* No new edge comes for bytes that were left unread, so they are asked for as soon as there is room. */
  size_t room;
  receive_space(&room);
  return more_out || (wire.fd >= 0 && readable && room > 0);
}

void link_flush(int timeout_ms) {
  while (wire.fd >= 0 && out_queued() > 0) {
    if (out_flush(wire.fd) != -EAGAIN) return;
    struct pollfd p = {.fd = wire.fd, .events = POLLOUT};
    if (poll(&p, 1, timeout_ms) <= 0 || (p.revents & POLLHUP)) return;
  }
}

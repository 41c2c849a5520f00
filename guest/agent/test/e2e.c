/* The agent itself, built with sanitizers, over a unix socket: files, watches, tunnels, hooks, metrics. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/text.h"
#include "check.h"
#include "client.h"

static char dir[] = "/tmp/ramet-e2e-XXXXXX";

static const char *in_dir(const char *name) {
  static char paths[4][256];
  static unsigned turn;
  char *path = paths[turn++ % 4];
  CHECK(text_join(path, sizeof paths[0], dir, "/", name, NULL));
  return path;
}

static uint64_t with_path(const char *op, const char *path, uint64_t flags) {
  uint32_t stream;
  struct buf *b = client_request(op, &stream);
  put_text_field(b, F_PATH, path);
  put_u64_field(b, F_FLAGS, flags);
  client_send();
  return client_errno(stream);
}

static uint64_t write_file_over_link(const char *path, const uint8_t *content, size_t len, uint64_t flags) {
  uint32_t stream;
  struct buf *b = client_request("file.write", &stream);
  put_text_field(b, F_PATH, path);
  put_u64_field(b, F_FLAGS, flags);
  client_send();
  uint64_t error = client_errno(stream);
  if (error) return error;
  for (size_t at = 0; at < len; at += 30000) {
    size_t piece = len - at < 30000 ? len - at : 30000;
    client_frame(FRAME_DATA, CHANNEL_IN, stream, at, content + at, piece);
  }
  client_frame(FRAME_EOF, CHANNEL_IN, stream, len, NULL, 0);
  return client_errno(stream);
}

static void test_files(void) {
  static uint8_t content[200000];
  for (size_t i = 0; i < sizeof content; i++) content[i] = (uint8_t)(i * i);
  const char *path = in_dir("a/b/file");
  CHECK(write_file_over_link(path, content, sizeof content, 0) == ENOENT);
  CHECK(write_file_over_link(path, content, sizeof content, 2) == 0);
  CHECK(write_file_over_link(path, content, sizeof content, 4) == EEXIST);
  CHECK(chmod(path, 0751) == 0 && write_file_over_link(path, content, 100000, 0) == 0);
  CHECK(write_file_over_link(path, content + 100000, 100000, 1) == 0);
  struct stat st;
  CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0751 && st.st_size == sizeof content);

  uint32_t stream;
  struct buf *b = client_request("file.read", &stream);
  put_text_field(b, F_PATH, path);
  put_u64_field(b, F_OFFSET, 1000);
  client_send();
  CHECK(client_errno(stream) == 0);
  uint64_t got = 0;
  for (const struct message *m = client_next(); m->frame.type != FRAME_EOF; m = client_next()) {
    CHECK(m->frame.type == FRAME_DATA && m->frame.offset == got);
    CHECK(memcmp(m->payload, content + 1000 + got, m->frame.length) == 0);
    got += m->frame.length;
    client_frame(FRAME_ACK, CHANNEL_OUT, stream, got, NULL, 0);
  }
  CHECK(got == sizeof content - 1000);

  CHECK(with_path("file.stat", path, 0) == 0 && with_path("file.stat", in_dir("none"), 0) == ENOENT);
  CHECK(with_path("file.stat", "relative", 0) == EINVAL);
  CHECK(with_path("file.list", in_dir("a"), 0) == 0 && with_path("file.list", path, 0) == ENOTDIR);
  CHECK(with_path("file.mkdir", in_dir("x/y/z"), 2) == 0 && with_path("file.mkdir", in_dir("x"), 0) == EEXIST);
  CHECK(with_path("file.read", in_dir("x"), 0) == EISDIR && with_path("file.read", "/dev/null", 0) == EINVAL);
  CHECK(with_path("file.remove", in_dir("a"), 0) == ENOTEMPTY && with_path("file.remove", in_dir("a"), 1) == 0);
  CHECK(access(in_dir("a"), F_OK) < 0 && with_path("file.remove", in_dir("x"), 1) == 0);
}

static void expect_event(uint32_t stream, const char *action, const char *path) {
  char text[256];
  for (;;) {
    const struct message *m = client_await(FRAME_EVENT, stream);
    CHECK(field_text(m->fields, F_ACTION, text, sizeof text) == 0);
    bool same = strcmp(text, action) == 0;
    CHECK(field_text(m->fields, F_PATH, text, sizeof text) == 0);
    if (same && strcmp(text, path) == 0) return;
  }
}

static void test_watch(void) {
  uint32_t stream;
  CHECK(mkdir(in_dir("w"), 0700) == 0);
  struct buf *b = client_request("watch", &stream);
  put_text_field(b, F_PATH, in_dir("w"));
  put_u64_field(b, F_FLAGS, 1);
  client_send();
  CHECK(client_errno(stream) == 0);
  CHECK(mkdir(in_dir("w/sub"), 0700) == 0);
  expect_event(stream, "created", in_dir("w/sub"));
  close(open(in_dir("w/sub/f"), O_WRONLY | O_CREAT, 0600));
  expect_event(stream, "created", in_dir("w/sub/f"));
  CHECK(rename(in_dir("w/sub"), in_dir("w/moved")) == 0);
  expect_event(stream, "renamed", in_dir("w/moved"));
  CHECK(unlink(in_dir("w/moved/f")) == 0);
  expect_event(stream, "removed", in_dir("w/moved/f"));
  client_frame(FRAME_RESET, 0, stream, 0, NULL, 0);
  CHECK(with_path("file.remove", in_dir("w"), 1) == 0);
}

static uint32_t open_tunnel(uint16_t port, uint64_t *error) {
  uint32_t stream;
  struct buf *b = client_request("tunnel", &stream);
  put_u64_field(b, F_PORT, port);
  client_send();
  *error = client_errno(stream);
  return stream;
}

static void test_tunnel(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  char text[16];
  uint64_t error;
  CHECK(bind(listener, (struct sockaddr *)&address, len) == 0);
  CHECK(getsockname(listener, (struct sockaddr *)&address, &len) == 0);
  uint16_t port = ntohs(address.sin_port);
  open_tunnel(port, &error);
  CHECK(error == ECONNREFUSED);
  CHECK(listen(listener, 1) == 0);
  uint32_t stream = open_tunnel(port, &error);
  int peer = accept(listener, NULL, NULL);
  CHECK(error == 0 && peer >= 0);
  client_frame(FRAME_DATA, CHANNEL_IN, stream, 0, "hello", 5);
  client_frame(FRAME_EOF, CHANNEL_IN, stream, 5, NULL, 0);
  CHECK(recv(peer, text, 5, MSG_WAITALL) == 5 && memcmp(text, "hello", 5) == 0 && recv(peer, text, 1, 0) == 0);
  CHECK(send(peer, "back", 4, 0) == 4);
  close(peer);
  const struct message *m = client_await(FRAME_DATA, stream);
  CHECK(m->frame.length == 4 && memcmp(m->payload, "back", 4) == 0);
  CHECK(client_await(FRAME_EOF, stream)->frame.offset == 4);
  close(listener);
}

static void write_hook(const char *name, const char *script) {
  int fd = open(in_dir(name), O_WRONLY | O_CREAT, 0755);
  CHECK(fd >= 0 && write_all(fd, script, strlen(script)) == 0);
  close(fd);
}

static uint64_t run_hooks(uint64_t timeout_ms, unsigned *results) {
  uint32_t stream;
  uint64_t error;
  struct field f;
  struct buf *b = client_request("hooks.run", &stream);
  put_text_field(b, F_NAME, "post-fork");
  put_u64_field(b, F_TIMEOUT_MS, timeout_ms);
  client_send();
  const struct message *m = client_await(FRAME_RESPONSE, stream);
  struct fields walk = m->fields;
  *results = 0;
  while (field_next(&walk, &f))
    if (f.key == F_HOOK) ++*results;
  CHECK(field_u64(m->fields, F_ERRNO, 1, &error) == 0);
  return error;
}

static void test_hooks(void) {
  unsigned results;
  CHECK(run_hooks(5000, &results) == 0 && results == 0);
  write_hook("root/etc/ramet/post-fork.d/10-first", "#!/bin/sh\necho \"$RAMET_HOOK\" > ${0%/*}/ran\n");
  CHECK(run_hooks(5000, &results) == 0 && results == 1 && access(in_dir("root/etc/ramet/post-fork.d/ran"), F_OK) == 0);
  write_hook("root/etc/ramet/post-fork.d/20-slow", "#!/bin/sh\nexec sleep 60\n");
  write_hook("root/etc/ramet/post-fork.d/30-never", "#!/bin/sh\nexit 0\n");
  CHECK(run_hooks(100, &results) == ETIMEDOUT && results == 2);
  CHECK(unlink(in_dir("root/etc/ramet/post-fork.d/20-slow")) == 0);
  write_hook("root/etc/ramet/post-fork.d/20-fails", "#!/bin/sh\nexit 3\n");
  CHECK(run_hooks(5000, &results) == ECANCELED && results == 2);
}

static void test_versions(const char *path) {
  uint32_t stream;
  client_request("metrics", &stream);
  client_send();
  CHECK(client_errno(stream) == 0);
  CHECK(with_path("no.such.operation", "/", 0) == ENOSYS);
  client_close();
  client_open(path, 1);
  CHECK(with_path("watch", "/", 0) == ENOSYS);
}

int main(int argc, char **argv) {
  CHECK(argc == 2 && mkdtemp(dir));
  char socket_path[64], root[64];
  CHECK(text_join(socket_path, sizeof socket_path, dir, "/agent", NULL) && text_join(root, sizeof root, dir, "/root", NULL));
  const char *made[] = {"root", "root/etc", "root/run", "root/etc/ramet", "root/etc/ramet/post-fork.d"};
  for (size_t i = 0; i < sizeof made / sizeof *made; i++) CHECK(mkdir(in_dir(made[i]), 0755) == 0);
  int ready[2];
  CHECK(pipe(ready) == 0);
  pid_t agent = fork();
  if (agent == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed check leaves no agent behind */
    dup2(ready[1], 2);
    close(ready[0]);
    execl(argv[1], argv[1], "--socket", socket_path, "--dry", "--root", root, (char *)NULL);
    _exit(127);
  }
  close(ready[1]);
  char line[64];
  CHECK(read(ready[0], line, sizeof line) > 0);
  client_open(socket_path, 2);
  test_files();
  test_watch();
  test_tunnel();
  test_hooks();
  test_versions(socket_path);
  CHECK(with_path("file.remove", in_dir("root"), 1) == 0);
  client_close();
  int status;
  CHECK(kill(agent, SIGTERM) == 0 && waitpid(agent, &status, 0) == agent);
  /* The sanitizers' exit code is not 0, with leaks too. */
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(rmdir(dir) == 0);
  puts("end to end: ok");
  return 0;
}

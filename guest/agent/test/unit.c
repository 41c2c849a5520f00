/* Unit tests of what is pure: rings, fields, frames, the marker, users, the command line, addresses, text. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../src/cmdline.h"
#include "../src/env.h"
#include "../src/fields.h"
#include "../src/frame.h"
#include "../src/netlink.h"
#include "../src/ring.h"
#include "../src/text.h"
#include "../src/users.h"
#include "check.h"

static void test_ring(void) {
  struct ring r;
  ring_init(&r, 4096);
  uint8_t bytes[5000];
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 7);
  CHECK(ring_room(&r) == 4096 && r.bytes == NULL);
  CHECK(!ring_put(&r, bytes, 4097) && ring_used(&r) == 0);
  CHECK(ring_put(&r, bytes, 4000) && ring_used(&r) == 4000);
  ring_drop_to(&r, 3000);
  CHECK(r.head == 3000 && ring_put(&r, bytes + 4000, 1000));
  size_t len;
  CHECK(ring_read_at(&r, 2999, &len) == NULL && len == 0);
  CHECK(ring_read_at(&r, 5000, &len) == NULL && len == 0);
  for (uint64_t at = 3000; at < 5000; at += len) {
    const uint8_t *piece = ring_read_at(&r, at, &len);
    CHECK(piece && len > 0 && memcmp(piece, bytes + at, len) == 0);
  }
  ring_drop_to(&r, 99999);
  CHECK(r.head == 5000 && ring_used(&r) == 0);
  ring_clear(&r);
  CHECK(r.head == 5000 && r.tail == 5000);
  ring_free(&r);
}

static void test_frames(void) {
  uint8_t header[FRAME_HEADER_BYTES];
  struct frame f = {.length = 65536, .type = FRAME_DATA, .channel = 2, .stream = 0x01020304, .offset = 0x1122334455};
  struct frame back;
  frame_encode(header, &f);
  CHECK(header[8] == 4 && header[12] == 0x55 && header[6] == 0);
  CHECK(frame_decode(header, &back) && back.length == 65536 && back.stream == f.stream && back.offset == f.offset);
  f.length = 65537;
  frame_encode(header, &f);
  CHECK(!frame_decode(header, &back));
  f.length = 0;
  f.type = 11;
  frame_encode(header, &f);
  CHECK(!frame_decode(header, &back));
  f.type = FRAME_REQUEST;
  frame_encode(header, &f);
  CHECK(!frame_decode(header, &back)); /* an offset where none belongs */
  f.offset = 0;
  f.channel = 0;
  frame_encode(header, &f);
  CHECK(frame_decode(header, &back));
  header[7] = 1;
  CHECK(!frame_decode(header, &back));
}

/* Every split of a stream that has false beginnings before the marker. */
static void test_marker(void) {
  uint8_t stream[64];
  size_t len = 0;
  stream[len++] = 0xff;
  memcpy(stream + len, link_marker, 15); /* all but the last byte, which ends in the first byte again */
  len += 15;
  memcpy(stream + len - 1, link_marker, MARKER_BYTES);
  len += MARKER_BYTES - 1;
  size_t end = len;
  stream[len++] = 0x42;
  for (size_t split = 0; split <= len; split++) {
    unsigned matched = 0;
    size_t first = marker_scan(&matched, stream, split);
    size_t found = first ? first : marker_scan(&matched, stream + split, len - split);
    CHECK(found && (first ? found : split + found) == end);
  }
  unsigned matched = 0;
  CHECK(marker_scan(&matched, stream, end - 1) == 0 && matched == 15);
}

static void test_fields(void) {
  uint8_t bytes[256];
  struct buf b = {.at = bytes, .cap = sizeof bytes};
  put_text_field(&b, F_OP, "ping");
  put_u64_field(&b, F_FLAGS, 7);
  size_t mark = record_begin(&b, F_NIC);
  put_u64_field(&b, F_INDEX, 1);
  record_end(&b, mark);
  put_text_field(&b, F_ARG, "one");
  put_text_field(&b, F_ARG, "two");
  put_bytes_field(&b, F_PATH, "a\0b", 3);
  CHECK(!b.full);
  struct fields run = {bytes, b.len};
  CHECK(fields_valid(run));
  for (size_t cut = 1; cut < 9; cut++) CHECK(!fields_valid((struct fields){bytes, b.len - cut}));
  uint64_t v;
  CHECK(field_u64(run, F_FLAGS, 0, &v) == 0 && v == 7);
  CHECK(field_u64(run, F_SIZE, 5, &v) == 0 && v == 5);
  CHECK(field_u64(run, F_OP, 0, &v) == -EINVAL);
  char text[4];
  CHECK(field_text(run, F_OP, text, sizeof text) == -ENAMETOOLONG);
  CHECK(field_text(run, F_PATH, text, sizeof text) == -EINVAL);
  struct field nic;
  CHECK(field_find(run, F_NIC, &nic) && field_u64((struct fields){nic.at, nic.len}, F_INDEX, 9, &v) == 0 && v == 1);
  char **list;
  size_t count;
  CHECK(field_list(run, F_ARG, &list, &count) == 0 && count == 2 && strcmp(list[1], "two") == 0 && !list[2]);
  free(list);
  struct buf small = {.at = bytes, .cap = 10};
  put_text_field(&small, F_OP, "12345");
  CHECK(small.full);
}

static void write_text(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0 && write_all(fd, text, strlen(text)) == 0);
  close(fd);
}

static void test_users(void) {
  char dir[] = "/tmp/ramet-unit-XXXXXX";
  char passwd[64], group[64];
  struct user u;
  CHECK(mkdtemp(dir));
  text_join(passwd, sizeof passwd, dir, "/passwd", NULL);
  text_join(group, sizeof group, dir, "/group", NULL);
  write_text(passwd, "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1001:Ann:/home/ann:/bin/bash\n");
  write_text(group, "root:x:0:\nann:x:1001:\nwheel:x:10:bob,ann\nlast:x:11:ann");
  CHECK(user_find_in("ann", &u, passwd, group) == 0 && u.uid == 1000 && u.gid == 1001 && u.group_count == 2);
  CHECK(u.groups[0] == 10 && u.groups[1] == 11 && strcmp(u.home, "/home/ann") == 0);
  CHECK(user_find_in("1000:wheel", &u, passwd, group) == 0 && u.gid == 10 && strcmp(u.name, "ann") == 0);
  CHECK(user_find_in("4711:12", &u, passwd, group) == 0 && u.uid == 4711 && u.gid == 12 && u.group_count == 0);
  CHECK(user_find_in("", &u, passwd, group) == 0 && u.uid == 0);
  CHECK(user_find_in("an", &u, passwd, group) == -ENOENT);
  CHECK(user_find_in("ann:nogroup", &u, passwd, group) == -ENOENT);
  unlink(passwd);
  unlink(group);
  CHECK(user_find_in("root", &u, passwd, group) == 0 && strcmp(u.home, "/root") == 0);
  CHECK(user_find_in("ann", &u, passwd, group) == -ENOENT);
  rmdir(dir);
}

static void test_small_parsers(void) {
  struct cmdline c;
  char line[] = "console=ttyS0 root=/dev/vda ro quiet ramet.init=system\n";
  cmdline_parse(line, &c);
  CHECK(strcmp(c.root, "/dev/vda") == 0 && c.read_only && c.system_init && strcmp(c.fstype, "ext4") == 0);
  struct ip_prefix ip;
  char text[64];
  CHECK(ip_parse("10.0.0.2/24", &ip) && ip.prefix == 24 && ip.family == AF_INET);
  ip_format(&ip, true, text, sizeof text);
  CHECK(strcmp(text, "10.0.0.2/24") == 0);
  CHECK(ip_parse("fd00::1", &ip) && ip.prefix == 128 && ip.family == AF_INET6);
  CHECK(!ip_parse("10.0.0.2/33", &ip) && !ip_parse("10.0.0/8", &ip) && !ip_parse("10.0.0.1/", &ip));
  uint64_t v;
  CHECK(parse_u64("18446744073709551615", 20, &v) && v == UINT64_MAX);
  CHECK(!parse_u64("18446744073709551616", 20, &v) && !parse_u64("", 0, &v) && !parse_u64("1a", 2, &v));
  struct text t;
  text_init(&t, text, sizeof text);
  text_add_json(&t, "a\"\\\n");
  CHECK(strcmp(text, "\"a\\\"\\\\\\u000a\"") == 0 && !t.cut);
  char tiny[4];
  CHECK(!text_join(tiny, sizeof tiny, "ab", "cd", NULL) && strcmp(tiny, "abc") == 0);
  struct env env = {0};
  char a1[] = "A=1", ab[] = "AB=2", a2[] = "A=3", bad[] = "=x";
  env_set(&env, a1);
  env_set(&env, ab);
  env_set(&env, a2);
  env_set(&env, bad);
  CHECK(env.count == 2 && env.list[0] == a2 && env.list[1] == ab && !env.list[2]);
  env_free(&env);
}

int main(void) {
  test_ring();
  test_frames();
  test_marker();
  test_fields();
  test_users();
  test_small_parsers();
  puts("unit tests: ok");
  return 0;
}

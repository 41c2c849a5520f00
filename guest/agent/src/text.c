#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void text_init(struct text *t, char *storage, size_t cap) {
  t->at = storage;
  t->len = 0;
  t->cap = cap;
  t->cut = false;
  storage[0] = 0;
}

void text_add_n(struct text *t, const char *s, size_t n) {
  size_t room = t->cap - t->len - 1;
  if (n > room) {
    n = room;
    t->cut = true;
  }
  memcpy(t->at + t->len, s, n);
  t->len += n;
  t->at[t->len] = 0;
}

void text_add(struct text *t, const char *s) { text_add_n(t, s, strlen(s)); }

void text_add_u64(struct text *t, uint64_t v) {
  char digits[20];
  size_t n = 0;
  do {
    digits[sizeof digits - ++n] = (char)('0' + v % 10);
    v /= 10;
  } while (v != 0);
  text_add_n(t, digits + sizeof digits - n, n);
}

void text_add_json(struct text *t, const char *s) {
  static const char hex[] = "0123456789abcdef";
  text_add(t, "\"");
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\') {
      char pair[2] = {'\\', (char)c};
      text_add_n(t, pair, 2);
    } else if (c < 0x20) {
      char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
      text_add_n(t, escape, 6);
    } else {
      text_add_n(t, s, 1);
    }
  }
  text_add(t, "\"");
}

bool text_join(char *dst, size_t cap, ...) {
  struct text t;
  text_init(&t, dst, cap);
  va_list list;
  va_start(list, cap);
  for (const char *s = va_arg(list, const char *); s; s = va_arg(list, const char *)) text_add(&t, s);
  va_end(list);
  return !t.cut;
}

bool parse_u64(const char *s, size_t n, uint64_t *out) {
  uint64_t v = 0;
  if (n == 0) return false;
  for (size_t i = 0; i < n; i++) {
    if (s[i] < '0' || s[i] > '9') return false;
    uint64_t digit = (uint64_t)(s[i] - '0');
    if (v > (UINT64_MAX - digit) / 10) return false;
    v = v * 10 + digit;
  }
  *out = v;
  return true;
}

ssize_t read_file(const char *path, char *dst, size_t cap) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  size_t len = 0;
  ssize_t result = 0;
  while (len + 1 < cap) {
    ssize_t n = read(fd, dst + len, cap - 1 - len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) result = -errno;
    if (n <= 0) break;
    len += (size_t)n;
  }
  close(fd);
  dst[len] = 0;
  return result < 0 ? result : (ssize_t)len;
}

int write_file(const char *path, const char *s) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int result = write_all(fd, s, strlen(s));
  close(fd);
  return result;
}

int write_all(int fd, const void *data, size_t n) {
  const char *at = data;
  while (n > 0) {
    ssize_t done = write(fd, at, n);
    if (done < 0) {
      if (errno == EINTR) continue;
      return -errno;
    }
    at += done;
    n -= (size_t)done;
  }
  return 0;
}

static uint64_t clock_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t monotonic_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
uint64_t realtime_ns(void) { return clock_ns(CLOCK_REALTIME); }

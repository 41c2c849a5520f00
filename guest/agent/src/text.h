/* Strings without stdio: a bounded builder, numbers, small files. */
#ifndef RAMET_TEXT_H
#define RAMET_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

/* A string under construction; always NUL-terminated, `cut` when it did not fit. */
struct text {
  char *at;
  size_t len;
  size_t cap;
  bool cut;
};

void text_init(struct text *t, char *storage, size_t cap);
void text_add(struct text *t, const char *s);
void text_add_n(struct text *t, const char *s, size_t n);
void text_add_u64(struct text *t, uint64_t v);
/* As a JSON string with quotes; control characters are escaped. */
void text_add_json(struct text *t, const char *s);
/* Concatenates strings up to a NULL into dst; false when it did not fit. */
bool text_join(char *dst, size_t cap, ...) __attribute__((sentinel));

/* Decimal digits only; returns false at anything else, at overflow and at the empty string. */
bool parse_u64(const char *s, size_t n, uint64_t *out);

/* Reads at most cap-1 bytes and terminates them; returns the length or -errno. */
ssize_t read_file(const char *path, char *dst, size_t cap);
/* Writes to an existing file (cgroup, sysfs, proc); returns 0 or -errno. */
int write_file(const char *path, const char *s);
/* All bytes, over short writes and EINTR; returns 0 or -errno. */
int write_all(int fd, const void *data, size_t n);

/* Monotonic nanoseconds: stands still while the guest is paused, so no deadline passes meanwhile. */
uint64_t monotonic_ns(void);
uint64_t realtime_ns(void);

#endif

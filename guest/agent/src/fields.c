#include "fields.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"

#define FIELD_HEADER 6u

bool field_next(struct fields *run, struct field *out) {
  if (run->len < FIELD_HEADER) return false;
  size_t len = get_u32(run->at + 2);
  if (len > run->len - FIELD_HEADER) return false;
  out->key = get_u16(run->at);
  out->at = run->at + FIELD_HEADER;
  out->len = len;
  run->at += FIELD_HEADER + len;
  run->len -= FIELD_HEADER + len;
  return true;
}

bool fields_valid(struct fields run) {
  struct field f;
  while (field_next(&run, &f)) continue;
  return run.len == 0;
}

bool field_find(struct fields run, uint16_t key, struct field *out) {
  while (field_next(&run, out))
    if (out->key == key) return true;
  return false;
}

bool field_has(struct fields run, uint16_t key) {
  struct field f;
  return field_find(run, key, &f);
}

bool field_is_text(const struct field *f) { return memchr(f->at, 0, f->len) == NULL; }

int field_u64(struct fields run, uint16_t key, uint64_t otherwise, uint64_t *out) {
  struct field f;
  *out = otherwise;
  if (!field_find(run, key, &f)) return 0;
  if (f.len != 8) return -EINVAL;
  *out = get_u64(f.at);
  return 0;
}

int field_text(struct fields run, uint16_t key, char *dst, size_t cap) {
  struct field f;
  dst[0] = 0;
  if (!field_find(run, key, &f)) return 0;
  if (!field_is_text(&f)) return -EINVAL;
  if (f.len >= cap) return -ENAMETOOLONG;
  memcpy(dst, f.at, f.len);
  dst[f.len] = 0;
  return 0;
}

int field_list(struct fields run, uint16_t key, char ***out, size_t *count) {
  struct fields walk = run;
  struct field f;
  size_t n = 0;
  size_t bytes = 0;
  while (field_next(&walk, &f)) {
    if (f.key != key) continue;
    if (!field_is_text(&f)) return -EINVAL;
    n++;
    bytes += f.len + 1;
  }
  char **list = malloc((n + 1) * sizeof *list + bytes);
  if (!list) return -ENOMEM;
  char *at = (char *)(list + n + 1);
  size_t i = 0;
  while (field_next(&run, &f)) {
    if (f.key != key) continue;
    memcpy(at, f.at, f.len);
    at[f.len] = 0;
    list[i++] = at;
    at += f.len + 1;
  }
  list[i] = NULL;
  *out = list;
  *count = n;
  return 0;
}

void buf_raw(struct buf *b, const void *data, size_t len) {
  if (!b) return;
  if (b->full || len > b->cap - b->len) {
    b->full = true;
    return;
  }
  memcpy(b->at + b->len, data, len);
  b->len += len;
}

void put_bytes_field(struct buf *b, uint16_t key, const void *data, size_t len) {
  uint8_t header[FIELD_HEADER];
  put_u16(header, key);
  put_u32(header + 2, (uint32_t)len);
  buf_raw(b, header, sizeof header);
  buf_raw(b, data, len);
}

void put_text_field(struct buf *b, uint16_t key, const char *s) { put_bytes_field(b, key, s, strlen(s)); }

void put_u64_field(struct buf *b, uint16_t key, uint64_t v) {
  uint8_t bytes[8];
  put_u64(bytes, v);
  put_bytes_field(b, key, bytes, sizeof bytes);
}

size_t record_begin(struct buf *b, uint16_t key) {
  if (!b) return 0;
  put_bytes_field(b, key, "", 0);
  return b->len;
}

void record_end(struct buf *b, size_t mark) {
  if (!b || b->full) return;
  put_u32(b->at + mark - 4, (uint32_t)(b->len - mark));
}

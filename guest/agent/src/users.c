#include "users.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "text.h"

#define COLUMNS 7

/* A colon-separated file in memory, walked line by line. */
struct table {
  char *at;
  size_t len;
  size_t pos;
};

struct column {
  const char *at;
  size_t len;
};

static bool table_open(struct table *t, const char *path) {
  struct stat st;
  *t = (struct table){0};
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
    void *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (at != MAP_FAILED) {
      t->at = at;
      t->len = (size_t)st.st_size;
    }
  }
  close(fd);
  return t->at != NULL;
}

static void table_close(struct table *t) {
  if (t->at) munmap(t->at, t->len);
}

/* The columns of the next line; those that are missing are empty. */
static bool table_next(struct table *t, struct column columns[COLUMNS]) {
  if (t->pos >= t->len) return false;
  const char *line = t->at + t->pos;
  const char *end = memchr(line, '\n', t->len - t->pos);
  size_t len = end ? (size_t)(end - line) : t->len - t->pos;
  t->pos += len + 1;
  for (int i = 0; i < COLUMNS; i++) {
    const char *colon = i + 1 < COLUMNS ? memchr(line, ':', len) : NULL;
    size_t n = colon ? (size_t)(colon - line) : len;
    columns[i] = (struct column){line, n};
    line += colon ? n + 1 : n;
    len -= colon ? n + 1 : n;
  }
  return true;
}

static bool equals(struct column c, const char *s) { return c.len == strlen(s) && memcmp(c.at, s, c.len) == 0; }

static void copy(char *dst, size_t cap, struct column c) {
  size_t n = c.len < cap ? c.len : cap - 1;
  memcpy(dst, c.at, n);
  dst[n] = 0;
}

static bool number(struct column c, uint32_t *out) {
  uint64_t v;
  if (!parse_u64(c.at, c.len, &v) || v >= UINT32_MAX) return false;
  *out = (uint32_t)v;
  return true;
}

static int find_user(const char *name, struct user *out, const char *path) {
  struct table t;
  struct column c[COLUMNS];
  uint32_t wanted = 0;
  bool numeric = number((struct column){name, strlen(name)}, &wanted);
  int result = -ENOENT;
  if (table_open(&t, path)) {
    while (result != 0 && table_next(&t, c)) {
      uint32_t uid, gid;
      if (!number(c[2], &uid) || !number(c[3], &gid)) continue;
      if (!(numeric ? uid == wanted : equals(c[0], name))) continue;
      out->uid = uid;
      out->gid = gid;
      copy(out->name, sizeof out->name, c[0]);
      copy(out->home, sizeof out->home, c[5]);
      copy(out->shell, sizeof out->shell, c[6]);
      result = 0;
    }
    table_close(&t);
  }
  if (result == 0) return 0;
  bool root = (numeric && wanted == 0) || strcmp(name, "root") == 0;
  if (!numeric && !root) return -ENOENT;
  /* A number needs no line, and root exists in an image without users. */
  out->uid = out->gid = root ? 0 : wanted;
  strcpy(out->home, root ? "/root" : "/");
  if (root) strcpy(out->name, "root");
  return 0;
}

static bool is_member(struct column members, const char *name) {
  while (members.len > 0) {
    const char *comma = memchr(members.at, ',', members.len);
    size_t n = comma ? (size_t)(comma - members.at) : members.len;
    if (equals((struct column){members.at, n}, name)) return true;
    members.at += comma ? n + 1 : n;
    members.len -= comma ? n + 1 : n;
  }
  return false;
}

/* The primary group when one is named, and the supplementary groups of the user. */
static int find_groups(const char *primary, struct user *u, const char *path) {
  struct table t;
  struct column c[COLUMNS];
  bool found = primary == NULL;
  uint32_t gid;
  if (primary && number((struct column){primary, strlen(primary)}, &gid)) {
    u->gid = gid;
    found = true;
  }
  if (table_open(&t, path)) {
    while (table_next(&t, c)) {
      if (!number(c[2], &gid)) continue;
      if (!found && equals(c[0], primary)) {
        u->gid = gid;
        found = true;
      }
      if (u->name[0] && u->group_count < USER_GROUPS_MAX && is_member(c[3], u->name)) u->groups[u->group_count++] = gid;
    }
    table_close(&t);
  }
  return found ? 0 : -ENOENT;
}

int user_find_in(const char *spec, struct user *out, const char *passwd_path, const char *group_path) {
  char name[128];
  memset(out, 0, sizeof *out);
  if (strlen(spec) >= sizeof name) return -EINVAL;
  strcpy(name, spec);
  char *group = strchr(name, ':');
  if (group) *group++ = 0;
  int error = find_user(name[0] ? name : "root", out, passwd_path);
  if (error < 0) return error;
  if (!out->home[0]) strcpy(out->home, "/");
  return find_groups(group && group[0] ? group : NULL, out, group_path);
}

int user_find(const char *spec, struct user *out) {
  char passwd[256], group[256];
  if (!agent_path(passwd, sizeof passwd, "/etc/passwd") || !agent_path(group, sizeof group, "/etc/group"))
    return -ENAMETOOLONG;
  int error = user_find_in(spec, out, passwd, group);
  return error;
}

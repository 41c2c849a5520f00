/* file.list: in a helper process, since a directory may be of any size. Entries come in the order of their names. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file-paths.h"
#include "helper.h"
#include "ops.h"

struct names {
  char **at;
  size_t count;
  size_t cap;
};

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Freed by the helper's end. */
static int read_names(DIR *dir, struct names *names) {
  for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    if (names->count == names->cap) {
      names->cap = names->cap ? names->cap * 2 : 256;
      char **at = realloc(names->at, names->cap * sizeof *at);
      if (!at) return -ENOMEM;
      names->at = at;
    }
    names->at[names->count] = strdup(e->d_name);
    if (!names->at[names->count++]) return -ENOMEM;
  }
  if (names->count) qsort(names->at, names->count, sizeof *names->at, by_name);
  return 0;
}

/* False when it did not fit; nothing is put then. A name that has gone meanwhile is passed over. */
static bool put_entry(struct buf *b, int dir_fd, const char *name) {
  struct stat st;
  char target[PATH_MAX];
  size_t before = b->len;
  if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) return true;
  size_t mark = record_begin(b, F_ENTRY);
  put_text_field(b, F_NAME, name);
  put_stat(b, &st);
  if (S_ISLNK(st.st_mode)) {
    ssize_t n = readlinkat(dir_fd, name, target, sizeof target);
    if (n > 0) put_bytes_field(b, F_TARGET, target, (size_t)n);
  }
  record_end(b, mark);
  if (!b->full) return true;
  b->full = false;
  b->len = before;
  return false;
}

static void list(const struct request *rq, struct buf *answer) {
  char path[PATH_MAX];
  uint64_t offset, limit;
  struct names names = {0};
  int error = file_path(rq->fields, F_PATH, path);
  if (!error) error = field_u64(rq->fields, F_OFFSET, 0, &offset);
  if (!error) error = field_u64(rq->fields, F_LIMIT, UINT64_MAX, &limit);
  DIR *dir = error ? NULL : opendir(path);
  if (!error) error = dir ? read_names(dir, &names) : -errno;
  put_result(answer, error, NULL);
  if (error) return;
  put_u64_field(answer, F_SIZE, names.count);
  /* As many as fit into the frame; the host asks for the rest by offset. */
  for (uint64_t i = offset; i < names.count && i - offset < limit; i++)
    if (!put_entry(answer, dirfd(dir), names.at[i])) return;
}

void op_file_list(const struct request *rq) { helper_run(rq, list, NULL); }

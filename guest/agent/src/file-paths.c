#include "file-paths.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

int file_path(struct fields fields, uint16_t key, char dst[PATH_MAX]) {
  int error = field_text(fields, key, dst, PATH_MAX);
  if (error) return error;
  return dst[0] == '/' ? 0 : -EINVAL;
}

int file_make_parents(const char *path, const struct user *owner) {
  char parent[PATH_MAX];
  if (!text_join(parent, sizeof parent, path, NULL)) return -ENAMETOOLONG;
  for (char *slash = strchr(parent + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    if (mkdir(parent, 0755) == 0) {
      if (owner && chown(parent, owner->uid, owner->gid) < 0) return -errno;
    } else if (errno != EEXIST) {
      return -errno;
    }
    *slash = '/';
  }
  return 0;
}

static const char *kind_of(mode_t mode) {
  if (S_ISREG(mode)) return "file";
  if (S_ISDIR(mode)) return "directory";
  return S_ISLNK(mode) ? "symlink" : "other";
}

void put_stat(struct buf *b, const struct stat *st) {
  put_text_field(b, F_KIND, kind_of(st->st_mode));
  put_u64_field(b, F_SIZE, (uint64_t)st->st_size);
  put_u64_field(b, F_MODE, st->st_mode & 07777);
  put_u64_field(b, F_UID, st->st_uid);
  put_u64_field(b, F_GID, st->st_gid);
  put_u64_field(b, F_MTIME_NS, (uint64_t)st->st_mtim.tv_sec * NS_PER_S + (uint64_t)st->st_mtim.tv_nsec);
}

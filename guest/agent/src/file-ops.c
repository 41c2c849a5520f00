/* Operations on names: stat, mkdir, rename, remove. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file-paths.h"
#include "fs-freeze.h"
#include "helper.h"
#include "ops.h"

#define FLAG_NO_FOLLOW 1u
#define FLAG_RECURSIVE 1u
#define FLAG_PARENTS 2u
#define REMOVE_DEPTH_MAX 256

static void put_target(struct buf *b, const char *path) {
  char target[PATH_MAX];
  ssize_t n = readlink(path, target, sizeof target);
  if (n > 0) put_bytes_field(b, F_TARGET, target, (size_t)n);
}

void op_file_stat(const struct request *rq) {
  char path[PATH_MAX];
  struct stat st;
  uint64_t flags;
  int error = file_path(rq->fields, F_PATH, path);
  if (!error) error = field_u64(rq->fields, F_FLAGS, 0, &flags);
  if (!error && ((flags & FLAG_NO_FOLLOW) ? lstat(path, &st) : stat(path, &st)) < 0) error = -errno;
  if (error) {
    reply_error(rq->reply, error, NULL);
    return;
  }
  struct buf *b = reply_begin(rq->reply);
  put_stat(b, &st);
  if (S_ISLNK(st.st_mode)) put_target(b, path);
  reply_end(rq->reply, b);
}

void op_file_mkdir(const struct request *rq) {
  if (fs_freeze_refuses(rq->reply)) return;
  char path[PATH_MAX], user_name[128];
  uint64_t flags, mode;
  struct user user;
  int error = file_path(rq->fields, F_PATH, path);
  if (!error) error = field_text(rq->fields, F_USER, user_name, sizeof user_name);
  if (!error) error = user_find(user_name, &user);
  if (!error) error = field_u64(rq->fields, F_FLAGS, 0, &flags);
  if (!error) error = field_u64(rq->fields, F_MODE, 0755, &mode);
  if (!error && (flags & FLAG_PARENTS)) error = file_make_parents(path, &user);
  if (!error && mkdir(path, 0700) < 0) {
    struct stat st;
    error = -errno;
    /* With its parents, as `mkdir -p`: a directory that is there is what was wanted. */
    bool there = error == -EEXIST && (flags & FLAG_PARENTS) && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    if (there) error = 0;
  } else if (!error) {
    bool own = user.uid != geteuid() || user.gid != getegid();
    if ((own && chown(path, user.uid, user.gid) < 0) || chmod(path, (mode_t)(mode & 07777)) < 0) error = -errno;
  }
  if (error) reply_error(rq->reply, error, NULL);
  else reply_ok(rq->reply);
}

void op_file_rename(const struct request *rq) {
  if (fs_freeze_refuses(rq->reply)) return;
  char path[PATH_MAX], target[PATH_MAX];
  int error = file_path(rq->fields, F_PATH, path);
  if (!error) error = file_path(rq->fields, F_TARGET, target);
  if (!error && rename(path, target) < 0) error = -errno;
  if (error) reply_error(rq->reply, error, NULL);
  else reply_ok(rq->reply);
}

/* Takes the descriptor over. Stays in the file system it began in: what is mounted below is not its to remove. */
static int remove_contents(int dir_fd, dev_t device, int depth) {
  DIR *dir = fdopendir(dir_fd);
  int error = 0;
  if (!dir) {
    error = -errno;
    close(dir_fd);
    return error;
  }
  for (struct dirent *e = readdir(dir); e && !error; e = readdir(dir)) {
    struct stat st;
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    if (unlinkat(dir_fd, e->d_name, 0) == 0) continue;
    if (errno != EISDIR) {
      error = -errno;
      continue;
    }
    int fd = openat(dir_fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) error = -errno;
    else if (st.st_dev != device) error = -EXDEV;
    else if (depth >= REMOVE_DEPTH_MAX) error = -ELOOP;
    if (error) {
      if (fd >= 0) close(fd);
      continue;
    }
    error = remove_contents(fd, device, depth + 1);
    if (!error && unlinkat(dir_fd, e->d_name, AT_REMOVEDIR) < 0) error = -errno;
  }
  closedir(dir);
  return error;
}

static void remove_tree(const struct request *rq, struct buf *answer) {
  char path[PATH_MAX];
  struct stat st;
  int error = file_path(rq->fields, F_PATH, path);
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (!error && (fd < 0 || fstat(fd, &st) < 0)) error = -errno;
  if (!error) error = remove_contents(fd, st.st_dev, 0);
  if (!error && rmdir(path) < 0) error = -errno;
  put_result(answer, error, NULL);
}

void op_file_remove(const struct request *rq) {
  if (fs_freeze_refuses(rq->reply)) return;
  char path[PATH_MAX];
  struct stat st;
  uint64_t flags;
  int error = file_path(rq->fields, F_PATH, path);
  if (!error) error = field_u64(rq->fields, F_FLAGS, 0, &flags);
  if (!error && lstat(path, &st) < 0) error = -errno;
  if (!error && S_ISDIR(st.st_mode) && (flags & FLAG_RECURSIVE)) {
    helper_run(rq, remove_tree, NULL);
    return;
  }
  if (!error && (S_ISDIR(st.st_mode) ? rmdir(path) : unlink(path)) < 0) error = -errno;
  if (error) reply_error(rq->reply, error, NULL);
  else reply_ok(rq->reply);
}

/* file.write: beside the file and renamed at the end, so that nobody ever sees half of it; or appended. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "file-paths.h"
#include "fs-freeze.h"
#include "ops.h"
#include "out.h"
#include "stream.h"
#include "text.h"

#define FLAG_APPEND 1u
#define FLAG_PARENTS 2u
#define FLAG_NEW 4u
#define ACK_EVERY (WINDOW_BYTES / 4)

struct writing {
  struct stream stream;
  int fd;
  bool append;
  bool must_be_new;
  uint64_t written;
  uint64_t acked;
  char *path;
  char *beside; /* NULL when it appends, or when it has been renamed */
};

static struct writing *of(struct stream *s) { return container_of(s, struct writing, stream); }

static void writing_closed(struct stream *s) {
  struct writing *w = of(s);
  if (w->fd >= 0) close(w->fd);
  if (w->beside) unlink(w->beside);
  free(w->beside);
  free(w->path);
  free(w);
}

static void writing_data(struct stream *s, uint64_t offset, const uint8_t *bytes, size_t len) {
  struct writing *w = of(s);
  if (offset != w->written) {
    stream_reset(s, EPROTO, "the content has a gap");
    return;
  }
  int error = fs_freeze_in_force() ? -EBUSY : write_all(w->fd, bytes, len);
  if (error) {
    stream_reset(s, -error, NULL);
    return;
  }
  w->written += len;
  if (w->written - w->acked < ACK_EVERY) return;
  w->acked = w->written;
  frame_empty(FRAME_ACK, CHANNEL_IN, s->id, w->acked);
}

static int put_in_place(struct writing *w) {
  if (w->append) return 0;
  unsigned flags = w->must_be_new ? RENAME_NOREPLACE : 0;
  if (syscall(SYS_renameat2, AT_FDCWD, w->beside, AT_FDCWD, w->path, flags) < 0) return -errno;
  free(w->beside);
  w->beside = NULL;
  return 0;
}

static void writing_eof(struct stream *s, uint64_t length) {
  struct writing *w = of(s);
  struct reply to = {.session = session_serial(), .stream = s->id};
  struct stat st;
  if (length != w->written) {
    stream_reset(s, EPROTO, "the end is not where the content ends");
    return;
  }
  int error = fs_freeze_in_force() ? -EBUSY : put_in_place(w);
  if (!error && fstat(w->fd, &st) < 0) error = -errno;
  if (error) {
    reply_error(to, error, NULL);
  } else {
    struct buf *b = reply_begin(to);
    put_u64_field(b, F_SIZE, (uint64_t)st.st_size);
    reply_end(to, b);
  }
  stream_end(s);
}

static const struct stream_ops writing_ops = {.data = writing_data, .eof = writing_eof, .closed = writing_closed};

struct wish {
  char path[PATH_MAX];
  uint64_t flags, mode;
  bool mode_given, user_given;
  struct user user;
};

static int read_wish(struct fields fields, struct wish *wish) {
  char user_name[128];
  int error = file_path(fields, F_PATH, wish->path);
  if (!error) error = field_text(fields, F_USER, user_name, sizeof user_name);
  if (!error) error = user_find(user_name, &wish->user);
  if (!error) error = field_u64(fields, F_FLAGS, 0, &wish->flags);
  if (!error) error = field_u64(fields, F_MODE, 0644, &wish->mode);
  wish->mode_given = field_has(fields, F_MODE);
  wish->user_given = field_has(fields, F_USER);
  if (!error && wish->path[strlen(wish->path) - 1] == '/') error = -EISDIR;
  return error;
}

/* What an existing file decides: where a symbolic link leads, its mode, its owner. */
static int respect_existing(struct wish *wish) {
  char real[PATH_MAX];
  struct stat st;
  if (stat(wish->path, &st) < 0) return errno == ENOENT ? 0 : -errno;
  if (wish->flags & FLAG_NEW) return -EEXIST;
  if (S_ISDIR(st.st_mode)) return -EISDIR;
  if (!S_ISREG(st.st_mode)) return -EINVAL;
  if (!realpath(wish->path, real)) return -errno;
  strcpy(wish->path, real);
  if (!wish->mode_given) wish->mode = st.st_mode & 07777;
  if (!wish->user_given) {
    wish->user.uid = st.st_uid;
    wish->user.gid = st.st_gid;
  }
  return 0;
}

static char *name_beside(const char *path) {
  static const char letters[] = "0123456789abcdef";
  uint8_t random[8];
  char suffix[17], name[PATH_MAX];
  if (getrandom(random, sizeof random, 0) != sizeof random) return NULL;
  for (int i = 0; i < 8; i++) {
    suffix[2 * i] = letters[random[i] >> 4];
    suffix[2 * i + 1] = letters[random[i] & 15];
  }
  suffix[16] = 0;
  struct text t;
  text_init(&t, name, sizeof name);
  text_add_n(&t, path, (size_t)(strrchr(path, '/') + 1 - path));
  text_add(&t, ".ramet-");
  text_add(&t, suffix);
  return t.cut ? NULL : strdup(name);
}

static int open_target(const struct wish *wish, struct writing *w) {
  int flags = O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  struct stat st;
  bool existed = w->append && stat(wish->path, &st) == 0;
  if (w->append) {
    flags |= O_APPEND | O_CREAT | ((wish->flags & FLAG_NEW) ? O_EXCL : 0);
  } else {
    w->beside = name_beside(wish->path);
    if (!w->beside) return -ENOMEM;
    flags |= O_CREAT | O_EXCL | O_NOFOLLOW;
  }
  w->fd = open(w->append ? wish->path : w->beside, flags, 0600);
  if (w->fd < 0) {
    int error = -errno;
    free(w->beside);
    w->beside = NULL;
    return error;
  }
  if (existed && !wish->mode_given && !wish->user_given) return 0;
  bool own = wish->user.uid != geteuid() || wish->user.gid != getegid();
  if (own && fchown(w->fd, wish->user.uid, wish->user.gid) < 0) return -errno;
  return fchmod(w->fd, (mode_t)(wish->mode & 07777)) < 0 ? -errno : 0;
}

void op_file_write(const struct request *rq) {
  if (fs_freeze_refuses(rq->reply)) return;
  struct wish wish;
  struct writing *w = calloc(1, sizeof *w);
  int error = w ? read_wish(rq->fields, &wish) : -ENOMEM;
  if (!error && (wish.flags & FLAG_PARENTS)) error = file_make_parents(wish.path, &wish.user);
  if (!error) error = respect_existing(&wish);
  if (!error) {
    w->fd = -1;
    w->append = (wish.flags & FLAG_APPEND) != 0;
    w->must_be_new = (wish.flags & FLAG_NEW) != 0;
    w->path = strdup(wish.path);
    error = w->path ? open_target(&wish, w) : -ENOMEM;
    if (!error) error = -stream_open(&w->stream, rq->reply.stream, &writing_ops);
    if (error) {
      writing_closed(&w->stream);
      w = NULL;
    }
  }
  if (!error) {
    reply_ok(rq->reply);
    return;
  }
  if (w) free(w);
  reply_error(rq->reply, error, NULL);
}

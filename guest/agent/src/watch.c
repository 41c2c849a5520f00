/* watch: inotify on a file or directory, or on a whole tree. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file-paths.h"
#include "loop.h"
#include "ops.h"
#include "out.h"
#include "stream.h"
#include "text.h"

#define FLAG_RECURSIVE 1u
#define WATCH_LIMIT 4096
#define DEPTH_MAX 64
#define EVENT_MASK (IN_CREATE | IN_MODIFY | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF)

/* What inotify's number stands for. */
struct place {
  int wd;
  char *path;
};

struct watch {
  struct stream stream;
  struct source source;
  bool recursive;
  bool readable;
  bool overflow; /* to be told */
  struct place *places;
  size_t count;
  size_t cap;
  size_t at; /* unread part of the buffer */
  size_t len;
  _Alignas(struct inotify_event) char buffer[4096];
};

static struct watch *of(struct stream *s) { return container_of(s, struct watch, stream); }

static void watch_closed(struct stream *s) {
  struct watch *w = of(s);
  source_close(&w->source);
  for (size_t i = 0; i < w->count; i++) free(w->places[i].path);
  free(w->places);
  free(w);
}

static struct place *place_of(struct watch *w, int wd) {
  for (size_t i = 0; i < w->count; i++)
    if (w->places[i].wd == wd) return &w->places[i];
  return NULL;
}

static void forget_place(struct watch *w, struct place *p) {
  free(p->path);
  *p = w->places[--w->count];
}

static int add_place(struct watch *w, const char *path, uint32_t more) {
  if (w->count >= WATCH_LIMIT) return -ENOSPC;
  int wd = inotify_add_watch(w->source.fd, path, EVENT_MASK | more);
  if (wd < 0) return -errno;
  struct place *known = place_of(w, wd);
  if (known) { /* a directory that was moved within the tree keeps its number */
    char *moved = strdup(path);
    if (!moved) return -ENOMEM;
    free(known->path);
    known->path = moved;
    return 0;
  }
  if (w->count == w->cap) {
    size_t cap = w->cap ? w->cap * 2 : 4;
    struct place *places = realloc(w->places, cap * sizeof *places);
    if (!places) return -ENOMEM;
    w->places = places;
    w->cap = cap;
  }
  char *copy = strdup(path);
  if (!copy) return -ENOMEM;
  w->places[w->count++] = (struct place){wd, copy};
  return 0;
}

static void put_event(struct watch *w, const char *action, const char *path) {
  struct buf *b = frame_begin(FRAME_EVENT, 0, w->stream.id, 0);
  put_text_field(b, F_OP, "file");
  put_text_field(b, F_ACTION, action);
  put_text_field(b, F_PATH, path);
  if (b) frame_end();
}

/* All directories below, too. What is found in a new one is told, since its own events began before it was watched. */
static void add_tree(struct watch *w, const char *path, bool tell, int depth) {
  int error = add_place(w, path, IN_ONLYDIR | (depth > 0 ? IN_DONT_FOLLOW : 0));
  if (error == -ENOSPC) w->overflow = true;
  DIR *dir = error || depth >= DEPTH_MAX ? NULL : opendir(path);
  if (!dir) return;
  for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
    char child[PATH_MAX];
    struct stat st;
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    if (!text_join(child, sizeof child, strcmp(path, "/") == 0 ? "" : path, "/", e->d_name, NULL)) continue;
    if (tell) put_event(w, "created", child);
    bool is_dir = e->d_type == DT_DIR;
    if (e->d_type == DT_UNKNOWN) is_dir = lstat(child, &st) == 0 && S_ISDIR(st.st_mode);
    if (is_dir) add_tree(w, child, tell, depth + 1);
  }
  closedir(dir);
}

static const char *action_of(uint32_t mask) {
  if (mask & IN_CREATE) return "created";
  if (mask & (IN_DELETE | IN_DELETE_SELF)) return "removed";
  if (mask & (IN_MOVED_FROM | IN_MOVED_TO | IN_MOVE_SELF)) return "renamed";
  return mask & (IN_MODIFY | IN_ATTRIB) ? "modified" : NULL;
}

/* True when a frame was queued. */
static bool tell(struct watch *w, const struct inotify_event *e) {
  char path[PATH_MAX];
  if (e->mask & IN_Q_OVERFLOW) {
    w->overflow = true;
    return false;
  }
  struct place *p = place_of(w, e->wd);
  if (!p) return false;
  const char *action = action_of(e->mask);
  bool fits = text_join(path, sizeof path, p->path, e->len ? "/" : "", e->len ? e->name : "", NULL);
  /* A watched directory below the root is told about by its parent as well. */
  bool self = (e->mask & (IN_DELETE_SELF | IN_MOVE_SELF)) != 0 && w->recursive && p != w->places;
  if (e->mask & IN_IGNORED) {
    if (p != w->places) forget_place(w, p);
    return false;
  }
  if (!action || !fits || self) return false;
  put_event(w, action, path);
  bool appeared = (e->mask & (IN_CREATE | IN_MOVED_TO)) != 0 && (e->mask & IN_ISDIR) != 0;
  if (w->recursive && appeared) add_tree(w, path, true, 1);
  return true;
}

/* Reads only when the link takes more: what is not read waits in the kernel, which tells when it lost something. */
static enum produced watch_produce(struct stream *s) {
  struct watch *w = of(s);
  while (w->readable || w->at < w->len) {
    if (w->overflow) {
      w->overflow = false;
      put_event(w, "overflow", w->places[0].path);
      return PRODUCED_FRAME;
    }
    if (w->at >= w->len) {
      ssize_t n = read(w->source.fd, w->buffer, sizeof w->buffer);
      w->at = 0;
      w->len = n > 0 ? (size_t)n : 0;
      if (n > 0) continue;
      w->readable = false;
      source_want(&w->source, EPOLLIN);
      break;
    }
    const struct inotify_event *e = (const void *)(w->buffer + w->at);
    w->at += sizeof *e + e->len;
    if (tell(w, e)) return PRODUCED_FRAME;
  }
  return PRODUCED_NOTHING;
}

static void on_inotify(struct source *s, uint32_t events) {
  struct watch *w = container_of(s, struct watch, source);
  (void)events;
  w->readable = true;
  source_want(s, 0);
  stream_ready(&w->stream);
}

static const struct stream_ops watch_ops = {.produce = watch_produce, .closed = watch_closed};

static int begin(struct watch *w, const char *path) {
  struct stat st;
  int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0) return -errno;
  int error = source_add(&w->source, fd, EPOLLIN, on_inotify);
  if (!error) error = add_place(w, path, 0);
  if (!error && w->recursive && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) add_tree(w, path, false, 0);
  return error;
}

void op_watch(const struct request *rq) {
  char path[PATH_MAX];
  uint64_t flags;
  int error = file_path(rq->fields, F_PATH, path);
  if (!error) error = field_u64(rq->fields, F_FLAGS, 0, &flags);
  size_t len = strlen(path);
  while (!error && len > 1 && path[len - 1] == '/') path[--len] = 0;
  struct watch *w = error ? NULL : calloc(1, sizeof *w);
  if (!error) error = w ? -stream_open(&w->stream, rq->reply.stream, &watch_ops) : -ENOMEM;
  if (error) {
    free(w);
    reply_error(rq->reply, error, NULL);
    return;
  }
  w->source.fd = -1;
  w->recursive = (flags & FLAG_RECURSIVE) != 0;
  error = begin(w, path);
  if (!error) {
    reply_ok(rq->reply);
    return;
  }
  reply_error(rq->reply, error, NULL);
  stream_end(&w->stream);
}

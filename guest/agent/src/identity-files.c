#include "identity-files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "text.h"

#define HOSTS_MAX 8192

static char dry_hostname[65];

static int write_new(const char *path, const char *contents, int flags) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | flags, 0644);
  if (fd < 0) return -errno;
  int error = write_all(fd, contents, strlen(contents));
  close(fd);
  return error;
}

/* A link is not followed, and what is not there is not made. */
static int overwrite(const char *path, const char *contents) {
  int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return -errno;
  size_t len = strlen(contents);
  struct stat before;
  int error = fstat(fd, &before) < 0 ? -errno : S_ISREG(before.st_mode) ? write_all(fd, contents, len) : -EINVAL;
  if (!error && before.st_size > (off_t)len && ftruncate(fd, (off_t)len) < 0) error = -errno;
  close(fd);
  return error;
}

/*
 * A file that is there is written over, not exchanged for a new one: to make, rename and forget an inode is much
 * kernel, which a fresh child has to translate first under emulation. The workload stands still meanwhile.
 */
int replace_file(const char *own_path, const char *contents) {
  char path[512], beside[520];
  if (!agent_path(path, sizeof path, own_path) || !text_join(beside, sizeof beside, path, ".ramet", NULL))
    return -ENAMETOOLONG;
  if (overwrite(path, contents) == 0) return 0;
  int error = write_new(beside, contents, O_NOFOLLOW);
  if (error) return error;
  if (rename(beside, path) == 0) return 0;
  error = errno == EBUSY ? write_new(path, contents, 0) : -errno;
  unlink(beside);
  return error;
}

/* The line of this guest's name, as Debian writes it; all other lines stay. */
static int update_hosts(const char *hostname) {
  char path[512], old[HOSTS_MAX], new[HOSTS_MAX + 128];
  struct text t;
  if (!agent_path(path, sizeof path, "/etc/hosts")) return -ENAMETOOLONG;
  ssize_t len = read_file(path, old, sizeof old);
  if (len == HOSTS_MAX - 1) return -EFBIG;
  text_init(&t, new, sizeof new);
  if (len < 0) text_add(&t, "127.0.0.1\tlocalhost\n");
  for (char *line = old; len > 0 && *line;) {
    char *end = strchrnul(line, '\n');
    if (strncmp(line, "127.0.1.1", 9) != 0) {
      text_add_n(&t, line, (size_t)(end - line));
      text_add(&t, "\n");
    }
    line = *end ? end + 1 : end;
  }
  text_add(&t, "127.0.1.1\t");
  text_add(&t, hostname);
  text_add(&t, "\n");
  return replace_file("/etc/hosts", new);
}

int identity_set_hostname(const char *hostname) {
  char line[80];
  size_t len = strlen(hostname);
  if (len == 0 || len > 64 || strpbrk(hostname, " \t\n/")) return -EINVAL;
  if (agent.dry) strcpy(dry_hostname, hostname);
  else if (sethostname(hostname, len) < 0) return -errno;
  text_join(line, sizeof line, hostname, "\n", NULL);
  int error = replace_file("/etc/hostname", line);
  if (!error) error = update_hosts(hostname);
  /* A read-only root is no failure: the kernel's name is what counts. */
  return error == -EROFS || error == -ENOENT ? 0 : error;
}

int identity_get_hostname(char *dst, size_t cap) {
  if (!agent.dry) return gethostname(dst, cap) < 0 ? -errno : 0;
  strcpy(dst, dry_hostname);
  return 0;
}

/* On a read-only root the id lives in /run, mounted over the file. */
static int bind_machine_id(const char *line) {
  int error = replace_file("/run/ramet/machine-id", line);
  if (error || agent.dry) return error;
  umount2("/etc/machine-id", MNT_DETACH);
  return mount("/run/ramet/machine-id", "/etc/machine-id", NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

int identity_set_machine_id(const char *id) {
  char line[40];
  if (strlen(id) != 32 || strspn(id, "0123456789abcdef") != 32) return -EINVAL;
  text_join(line, sizeof line, id, "\n", NULL);
  int error = replace_file("/etc/machine-id", line);
  return error == -EROFS ? bind_machine_id(line) : error == -ENOENT ? 0 : error;
}

int identity_get_machine_id(char *dst, size_t cap) {
  char path[512];
  if (!agent_path(path, sizeof path, "/etc/machine-id")) return -ENAMETOOLONG;
  ssize_t len = read_file(path, dst, cap);
  if (len < 0) return (int)len;
  dst[strcspn(dst, "\n")] = 0;
  return 0;
}

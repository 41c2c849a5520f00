#include "modules.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"
#include "text.h"

static void load(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    log_errno("cannot open module", path, errno);
    return;
  }
  if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST) log_errno("cannot load module", path, errno);
  close(fd);
}

void modules_load(const char *list_path) {
  char list[8192];
  char *rest = list;
  ssize_t n = read_file(list_path, list, sizeof list);
  if (n < 0) return;
  if ((size_t)n == sizeof list - 1) log_line(list_path, " is too long; its end is ignored", NULL);
  for (char *line = strtok_r(list, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
    if (line[0] == '/') load(line);
}

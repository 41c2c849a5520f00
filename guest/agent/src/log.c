#include "log.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

void log_line(const char *first, ...) {
  char line[512];
  struct text t;
  text_init(&t, line, sizeof line - 1);
  text_add(&t, "ramet-agent: ");
  va_list list;
  va_start(list, first);
  for (const char *s = first; s; s = va_arg(list, const char *)) text_add(&t, s);
  va_end(list);
  line[t.len] = '\n';
  /* One write, so that a line is not torn by the kernel's own messages; a console that fails is no reason to stop. */
  (void)!write(2, line, t.len + 1);
}

void log_errno(const char *what, const char *object, int error) {
  log_line(what, " ", object, ": ", strerror(error < 0 ? -error : error), NULL);
}

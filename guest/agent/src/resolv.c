#include "resolv.h"

#include <errno.h>
#include <string.h>

#include "agent.h"
#include "frame.h"
#include "identity-files.h"
#include "text.h"

#define FILE_NAME "/etc/resolv.conf"
#define KEYWORD "nameserver "

int resolv_apply(struct fields record) {
  char lines[1024];
  struct text t;
  struct field f;
  text_init(&t, lines, sizeof lines);
  while (field_next(&record, &f)) {
    if (f.key != F_DNS) continue;
    if (!field_is_text(&f) || memchr(f.at, '\n', f.len)) return -EINVAL;
    text_add(&t, KEYWORD);
    text_add_n(&t, (const char *)f.at, f.len);
    text_add(&t, "\n");
  }
  if (t.len == 0) return 0;
  int error = t.cut ? -EFBIG : replace_file(FILE_NAME, lines);
  /* The answer shows what the file says; on a read-only root that is the host's to judge. */
  return error == -EROFS || error == -ENOENT ? 0 : error;
}

void resolv_put(struct buf *b) {
  char path[512], lines[2048];
  if (!agent_path(path, sizeof path, FILE_NAME) || read_file(path, lines, sizeof lines) < 0) return;
  for (char *line = lines; *line;) {
    size_t len = strcspn(line, "\n");
    size_t keyword = strlen(KEYWORD);
    if (strncmp(line, KEYWORD, keyword) == 0) put_bytes_field(b, F_DNS, line + keyword, len - keyword);
    line += len + (line[len] ? 1 : 0);
  }
}

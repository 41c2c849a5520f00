#include "cmdline.h"

#include <string.h>

#include "text.h"

static bool value(const char *word, const char *name, char *dst, size_t cap) {
  size_t n = strlen(name);
  if (strncmp(word, name, n) != 0) return false;
  text_join(dst, cap, word + n, NULL);
  return true;
}

void cmdline_parse(char *text, struct cmdline *out) {
  char init[16] = "";
  memset(out, 0, sizeof *out);
  strcpy(out->fstype, "ext4");
  char *rest = text;
  for (char *word = strtok_r(text, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) {
    if (value(word, "root=", out->root, sizeof out->root)) continue;
    if (value(word, "rootfstype=", out->fstype, sizeof out->fstype)) continue;
    if (value(word, "ramet.init=", init, sizeof init)) continue;
    if (strcmp(word, "ro") == 0) out->read_only = true;
    if (strcmp(word, "rw") == 0) out->read_only = false;
  }
  out->system_init = strcmp(init, "system") == 0;
}

void cmdline_read(struct cmdline *out) {
  char text[2048];
  if (read_file("/proc/cmdline", text, sizeof text) < 0) text[0] = 0;
  cmdline_parse(text, out);
}

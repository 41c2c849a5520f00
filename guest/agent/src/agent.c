#include "agent.h"

#include "text.h"

struct agent agent = {.root = ""};

bool agent_path(char *dst, size_t cap, const char *path) { return text_join(dst, cap, agent.root, path, NULL); }

void agent_init(void) {
  ssize_t n = read_file("/proc/sys/kernel/random/boot_id", agent.boot_id, sizeof agent.boot_id);
  if (n > 0 && agent.boot_id[n - 1] == '\n') agent.boot_id[n - 1] = 0;
}

/* Modes: /init of an initramfs as pid 1, or `--socket PATH` on an ordinary host for tests. */
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "boot.h"
#include "cgroup.h"
#include "link.h"
#include "log.h"
#include "loop.h"
#include "nic.h"
#include "power.h"
#include "signals.h"
#include "text.h"

static int usage(void) {
  log_line("usage: ramet-agent --socket PATH [--dry] [--root DIR]", NULL);
  return 2;
}

static int serve_socket(int argc, char **argv) {
  const char *path = NULL;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--dry") == 0) agent.dry = true;
    else if (strcmp(argv[i], "--socket") == 0 && i + 1 < argc) path = argv[++i];
    else if (strcmp(argv[i], "--root") == 0 && i + 1 < argc) agent.root = argv[++i];
    else return usage();
  }
  if (!path) return usage();
  loop_init();
  signals_init();
  agent_init();
  cgroup_init();
  int error = link_use_socket(path);
  if (error) {
    log_errno("cannot listen on", path, error);
    return 1;
  }
  log_line("ready", NULL);
  loop_run(link_turn);
  unlink(path);
  return 0;
}

int main(int argc, char **argv) {
  if (argc > 1 && argv[1][0] == '-' && argv[1][1] == '-') return serve_socket(argc, argv);
  if (getpid() != 1) return usage();
  boot();
  loop_init();
  signals_init();
  agent_init();
  cgroup_init();
  nic_loopback_up();
  link_use_port();
  loop_run(link_turn);
  power_told_to_end();
  return 0;
}

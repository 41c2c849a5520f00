/* What the whole agent knows about itself and the guest. */
#ifndef RAMET_AGENT_H
#define RAMET_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef AGENT_BUILD
#define AGENT_BUILD "unknown"
#endif

struct agent {
  bool pid1;         /* first process: reaps, powers off */
  bool system_init;  /* the image's own init is pid 1 */
  bool dry;          /* a test on an ordinary host: nothing of the host is changed */
  const char *root;  /* prefix of the agent's own files; empty but in tests */
  char boot_id[40];
  uint64_t generation;
};

extern struct agent agent;

/* Prefixes one of the agent's own paths (/etc/..., /run/...) with the root; false when it does not fit. */
bool agent_path(char *dst, size_t cap, const char *path);
/* Sets the fields above that are read from the kernel. */
void agent_init(void);

#endif

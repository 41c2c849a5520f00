/* The kernel command line, as far as it concerns the agent. */
#ifndef RAMET_CMDLINE_H
#define RAMET_CMDLINE_H

#include <stdbool.h>

struct cmdline {
  char root[64];   /* a device; empty = stay in the initramfs */
  char fstype[16]; /* default ext4 */
  bool read_only;
  bool system_init;
};

void cmdline_read(struct cmdline *out);
void cmdline_parse(char *text, struct cmdline *out);

#endif

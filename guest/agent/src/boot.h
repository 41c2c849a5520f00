/*
 * From the kernel's first process to the agent: mounts, modules, the root file system.
 * Returns as pid 1, or as a child of the image's own init (agent.system_init). Does not return when it fails.
 */
#ifndef RAMET_BOOT_H
#define RAMET_BOOT_H

void boot(void);

#endif

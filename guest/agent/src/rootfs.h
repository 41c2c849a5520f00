/* The root file system on a disk. */
#ifndef RAMET_ROOTFS_H
#define RAMET_ROOTFS_H

#include "cmdline.h"

/* Waits for the device, mounts it, frees the initramfs and makes it the root. 0 or -errno. */
int rootfs_switch(const struct cmdline *cmdline);

#endif

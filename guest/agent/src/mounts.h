/* The kernel's own file systems. */
#ifndef RAMET_MOUNTS_H
#define RAMET_MOUNTS_H

/* /proc, /sys, /dev, /dev/pts, /dev/shm, /run, /sys/fs/cgroup; what is there already stays. */
void mounts_early(void);
/* What an initramfs that stays needs besides: /tmp. */
void mounts_without_root(void);
/* Moves /proc, /sys, /dev and /run below the new root. */
void mounts_move(const char *new_root);

#endif

/* Kernel modules that the initramfs names, in order. */
#ifndef RAMET_MODULES_H
#define RAMET_MODULES_H

/* A list of absolute paths, one a line. What fails is logged and skipped. */
void modules_load(const char *list_path);

#endif

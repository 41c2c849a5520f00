/* Terminals. */
#ifndef RAMET_PTY_H
#define RAMET_PTY_H

#include <stdint.h>
#include <sys/types.h>

/* Opens a pair; the master is non-blocking. 0 or -errno. */
int pty_open(int *master, int *slave, uint16_t columns, uint16_t rows, uid_t owner);
int pty_resize(int master, uint16_t columns, uint16_t rows);

#endif

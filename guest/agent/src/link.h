/* The connection to the host: the virtio-serial port, or in tests a unix socket. */
#ifndef RAMET_LINK_H
#define RAMET_LINK_H

#include <stdbool.h>

/* Waits in the loop for the port named org.ramet.agent.0 and opens it. */
void link_use_port(void);
/* Listens on a unix socket; one connection at a time. Returns 0 or -errno. */
int link_use_socket(const char *path);
/* Moves bytes in both directions; true when it stopped only to let others run. */
bool link_turn(void);
/* Writes out what is queued, waiting no longer than that: the last words before power-off. */
void link_flush(int timeout_ms);

#endif

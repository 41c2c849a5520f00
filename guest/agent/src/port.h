/* Finding the virtio-serial port, and the kernel's events about devices. */
#ifndef RAMET_PORT_H
#define RAMET_PORT_H

/* A socket that becomes readable when a device appears or changes; -errno. */
int port_events_open(void);
void port_events_drain(int fd);
/* Opens the port whose name is org.ramet.agent.0; -errno, -ENOENT when there is none yet. */
int port_open(void);

#endif

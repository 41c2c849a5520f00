/*
 * Pipes that descendants of an ended process still write to. They are read and thrown away: closing them would kill
 * a service that a shell has left in the background with SIGPIPE.
 */
#ifndef RAMET_SINK_H
#define RAMET_SINK_H

void sink_adopt(int fd);

#endif

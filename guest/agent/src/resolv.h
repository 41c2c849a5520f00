/* /etc/resolv.conf */
#ifndef RAMET_RESOLV_H
#define RAMET_RESOLV_H

#include "fields.h"

/* Writes the record's `dns` servers, if it has any; 0 or -errno. */
int resolv_apply(struct fields record);
/* Puts the servers that the file names. */
void resolv_put(struct buf *b);

#endif

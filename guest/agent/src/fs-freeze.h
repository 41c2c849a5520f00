/* Freezing file systems (FIFREEZE), so that a disk can be copied while it is consistent. */
#ifndef RAMET_FS_FREEZE_H
#define RAMET_FS_FREEZE_H

#include <stdbool.h>
#include <sys/types.h>

#include "session.h"

/* While true, a write would hold up the agent itself. */
bool fs_freeze_in_force(void);
/* Answers EBUSY and says true while file systems are frozen. */
bool fs_freeze_refuses(struct reply to);
void fs_freeze_end(void);
/* Told of every child that has ended. */
void fs_freeze_reaped(pid_t pid);

#endif

/* The guest's cgroup tree: ramet/agent, ramet/workload (frozen by freeze), ramet/hooks. */
#ifndef RAMET_CGROUP_H
#define RAMET_CGROUP_H

#include <stdbool.h>

enum cgroup { CGROUP_WORKLOAD, CGROUP_HOOKS };

/* Makes the tree and moves the agent into it. */
void cgroup_init(void);
/* A directory descriptor for clone3, or -1 when there are no cgroups; made again if the image's init removed it. */
int cgroup_fd(enum cgroup which);
/* Path of a file in the group. */
bool cgroup_path(char *dst, unsigned long cap, const char *group, const char *file);
/* Moves the calling process; 0 or -errno. */
int cgroup_enter(enum cgroup which);

#endif

/* Starting a program: fork, standard descriptors, cgroup, user, directory, exec. */
#ifndef RAMET_SPAWN_H
#define RAMET_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "cgroup.h"
#include "users.h"

struct spawn {
  char **argv;
  char **env;
  const char *cwd; /* NULL: the user's home, or / when it cannot be entered */
  const struct user *user;
  int stdio[3];
  bool terminal; /* stdio[0] becomes the controlling terminal */
  enum cgroup group;
  int error_fd; /* close-on-exec pipe end that carries a struct spawn_error when exec fails; -1 for none */
};

struct spawn_error {
  int error;
  int stage; /* enum spawn_stage */
};

enum spawn_stage { SPAWN_SETUP, SPAWN_USER, SPAWN_CWD, SPAWN_EXEC };

/* The pid, or -errno. The descriptors stay open in the caller. */
pid_t spawn(const struct spawn *plan);
/* A plain fork of the agent without the C library's ceremony. */
pid_t fork_into(int cgroup_fd);
const char *spawn_stage_text(int stage);

#endif

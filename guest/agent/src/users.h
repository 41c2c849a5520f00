/* Users and groups from /etc/passwd and /etc/group, without the C library's name services. */
#ifndef RAMET_USERS_H
#define RAMET_USERS_H

#include <sys/types.h>

#define USER_GROUPS_MAX 64

struct user {
  uid_t uid;
  gid_t gid;
  char name[64];
  char home[256];
  char shell[256];
  gid_t groups[USER_GROUPS_MAX];
  int group_count;
};

/* `name`, `uid`, each with an optional `:group`; the empty string is root. 0 or -ENOENT, -EINVAL. */
int user_find(const char *spec, struct user *out);
/* The same over other files, for tests. */
int user_find_in(const char *spec, struct user *out, const char *passwd_path, const char *group_path);

#endif

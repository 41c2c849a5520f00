/* An environment under construction: later settings of a name replace earlier ones. Strings are not copied. */
#ifndef RAMET_ENV_H
#define RAMET_ENV_H

#include <stddef.h>

struct env {
  char **list; /* NULL-terminated */
  size_t count;
  size_t cap;
};

/* What has no `=` is ignored. */
void env_set(struct env *e, char *assignment);
void env_set_all(struct env *e, char *const *assignments);
void env_free(struct env *e);

#endif

#include "env.h"

#include <stdlib.h>
#include <string.h>

void env_set(struct env *e, char *assignment) {
  const char *equal = strchr(assignment, '=');
  if (!equal || equal == assignment) return;
  size_t name = (size_t)(equal - assignment) + 1;
  for (size_t i = 0; i < e->count; i++) {
    if (strncmp(e->list[i], assignment, name) != 0) continue;
    e->list[i] = assignment;
    return;
  }
  if (e->count + 1 >= e->cap) {
    size_t cap = e->cap ? e->cap * 2 : 32;
    char **list = realloc(e->list, cap * sizeof *list);
    if (!list) return;
    e->list = list;
    e->cap = cap;
  }
  e->list[e->count++] = assignment;
  e->list[e->count] = NULL;
}

void env_set_all(struct env *e, char *const *assignments) {
  for (; assignments && *assignments; assignments++) env_set(e, *assignments);
}

void env_free(struct env *e) {
  free(e->list);
  *e = (struct env){0};
}

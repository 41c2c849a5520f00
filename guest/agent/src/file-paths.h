/* What the operations on files share. */
#ifndef RAMET_FILE_PATHS_H
#define RAMET_FILE_PATHS_H

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "fields.h"
#include "session.h"
#include "users.h"

/* A path from the request; -EINVAL when it is missing, relative, or has a NUL inside. */
int file_path(struct fields fields, uint16_t key, char dst[PATH_MAX]);
/* Makes all directories above the path, with mode 0755 and that owner (NULL = root). 0 or -errno. */
int file_make_parents(const char *path, const struct user *owner);
/* `kind`, `size`, `mode`, `uid`, `gid`, `mtimeNs`. */
void put_stat(struct buf *b, const struct stat *st);

#endif

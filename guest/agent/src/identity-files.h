/* The files that name this guest: hostname, hosts, machine-id, resolv.conf. */
#ifndef RAMET_IDENTITY_FILES_H
#define RAMET_IDENTITY_FILES_H

#include <stdbool.h>
#include <stddef.h>

/* Each returns 0 or -errno. */
int identity_set_hostname(const char *hostname);
int identity_get_hostname(char *dst, size_t cap);
int identity_set_machine_id(const char *id);
int identity_get_machine_id(char *dst, size_t cap);
/* Replaces a file of the agent's by rename; falls back to writing in place where it is a mount point. */
int replace_file(const char *path, const char *contents);

#endif

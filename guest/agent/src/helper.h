/*
 * Work that may block, in a forked process: it builds the whole payload of the answer and writes it to a pipe.
 */
#ifndef RAMET_HELPER_H
#define RAMET_HELPER_H

#include <stdbool.h>
#include <sys/types.h>

#include "session.h"

/* Runs in the helper; fills the answer, beginning with its errno. */
typedef void helper_fn(const struct request *rq, struct buf *answer);

/* Answers the request when the helper is done. */
void helper_run(const struct request *rq, helper_fn *work);
bool helper_reaped(pid_t pid);
/* `errno`, and a message when it is not 0. Error may be negative. */
void put_result(struct buf *b, int error, const char *message);

#endif

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

/*
 * Answers the request when the helper has done the work; the helper then does `after`, if there is one, and ends.
 * Returns its pid, or 0 when none could be started (the request is answered).
 */
pid_t helper_run(const struct request *rq, helper_fn *work, void (*after)(const struct request *rq));
bool helper_reaped(pid_t pid);
/* `errno`, and a message when it is not 0. Error may be negative. */
void put_result(struct buf *b, int error, const char *message);

#endif

/* From the name of an operation to the function that does it. */
#ifndef RAMET_DISPATCH_H
#define RAMET_DISPATCH_H

#include "session.h"

/* Answers the request, now or later; a malformed one is answered with an errno. */
void dispatch(const struct request *rq);

#endif

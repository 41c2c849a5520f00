/* Who this guest is: applied before the workload of a child runs again. */
#ifndef RAMET_IDENTITY_H
#define RAMET_IDENTITY_H

#include "env.h"

/* Adds RAMET_* and the environment given with the identity. The strings stay valid until the next identity.apply. */
void identity_env(struct env *e);

#endif

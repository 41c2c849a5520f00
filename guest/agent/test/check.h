/* The smallest test kit: a failed check says where, and ends the program. */
#ifndef RAMET_CHECK_H
#define RAMET_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (condition) break;                                                       \
    fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);   \
    exit(1);                                                                    \
  } while (0)

#endif

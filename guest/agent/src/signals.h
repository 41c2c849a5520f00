/* Signals as events: ended children, requests to stop. */
#ifndef RAMET_SIGNALS_H
#define RAMET_SIGNALS_H

void signals_init(void);

#endif

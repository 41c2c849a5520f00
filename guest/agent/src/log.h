/* Lines on the console, each prefixed `ramet-agent: `. */
#ifndef RAMET_LOG_H
#define RAMET_LOG_H

/* Strings up to a NULL make one line. */
void log_line(const char *first, ...) __attribute__((sentinel));
/* "what: the errno's text" */
void log_errno(const char *what, const char *object, int error);

#endif

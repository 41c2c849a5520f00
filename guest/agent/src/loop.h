/* The one epoll loop: descriptors, timers, and work to do before it sleeps. */
#ifndef RAMET_LOOP_H
#define RAMET_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct source;
typedef void source_fn(struct source *source, uint32_t events);

struct source {
  int fd;
  uint32_t events; /* 0 = not in epoll: with an empty mask epoll would still report EPOLLHUP, again and again */
  source_fn *ready;
};

struct timer;
typedef void timer_fn(struct timer *timer);

struct timer {
  uint64_t at; /* monotonic, ns */
  timer_fn *fire;
  struct timer *next;
  bool armed;
};

void loop_init(void);
/* Runs until loop_stop. `before_sleep` is called once a turn; while it says that it has more to do, nothing sleeps. */
void loop_run(bool (*before_sleep)(void));
void loop_stop(void);

/* Registers the descriptor; with events 0 it waits for source_want. Returns 0 or -errno. */
int source_add(struct source *source, int fd, uint32_t events, source_fn *ready);
int source_want(struct source *source, uint32_t events);
/* Takes it out and closes the descriptor; safe for one that is not open (fd -1). */
void source_close(struct source *source);
/* Takes it out, leaves the descriptor open and returns it. */
int source_release(struct source *source);

void timer_set(struct timer *timer, uint64_t delay_ns, timer_fn *fire);
void timer_clear(struct timer *timer);

#endif

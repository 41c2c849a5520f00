#include "loop.h"

#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include "text.h"

#define TURN_EVENTS 16

static int epoll_fd = -1;
static bool stopped;
static struct timer *timers; /* sorted by time; few */
static struct epoll_event turn[TURN_EVENTS];
static int turn_count;

void loop_init(void) { epoll_fd = epoll_create1(EPOLL_CLOEXEC); }
void loop_stop(void) { stopped = true; }

int source_add(struct source *source, int fd, uint32_t events, source_fn *ready) {
  source->fd = fd;
  source->events = 0;
  source->ready = ready;
  return source_want(source, events);
}

int source_want(struct source *source, uint32_t events) {
  if (source->fd < 0 || source->events == events) return 0;
  int op = source->events == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
  struct epoll_event event = {.events = events, .data.ptr = source};
  if (epoll_ctl(epoll_fd, op, source->fd, &event) < 0) return -errno;
  source->events = events;
  return 0;
}

int source_release(struct source *source) {
  int fd = source->fd;
  source_want(source, 0);
  source->fd = -1;
  /* Its memory may be freed now, while this turn still has an event for it. */
  for (int i = 0; i < turn_count; i++)
    if (turn[i].data.ptr == source) turn[i].data.ptr = NULL;
  return fd;
}

void source_close(struct source *source) {
  int fd = source_release(source);
  if (fd >= 0) close(fd);
}

void timer_set(struct timer *timer, uint64_t delay_ns, timer_fn *fire) {
  timer_clear(timer);
  timer->at = monotonic_ns() + delay_ns;
  timer->fire = fire;
  timer->armed = true;
  struct timer **place = &timers;
  while (*place && (*place)->at <= timer->at) place = &(*place)->next;
  timer->next = *place;
  *place = timer;
}

void timer_clear(struct timer *timer) {
  if (!timer->armed) return;
  for (struct timer **place = &timers; *place; place = &(*place)->next) {
    if (*place != timer) continue;
    *place = timer->next;
    break;
  }
  timer->armed = false;
}

static int next_timeout_ms(void) {
  if (!timers) return -1;
  uint64_t now = monotonic_ns();
  if (timers->at <= now) return 0;
  uint64_t ms = (timers->at - now + NS_PER_MS - 1) / NS_PER_MS;
  return ms > 3600000 ? 3600000 : (int)ms;
}

static void fire_timers(void) {
  if (!timers) return;
  uint64_t now = monotonic_ns();
  while (timers && timers->at <= now) {
    struct timer *timer = timers;
    timer_clear(timer);
    timer->fire(timer);
  }
}

void loop_run(bool (*before_sleep)(void)) {
  stopped = false;
  while (!stopped) {
    bool busy = before_sleep();
    if (stopped) return;
    turn_count = epoll_wait(epoll_fd, turn, TURN_EVENTS, busy ? 0 : next_timeout_ms());
    for (int i = 0; i < turn_count; i++) {
      struct source *source = turn[i].data.ptr;
      if (source && source->fd >= 0) source->ready(source, turn[i].events);
    }
    turn_count = 0;
    fire_timers();
  }
}

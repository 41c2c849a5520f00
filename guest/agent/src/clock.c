#include "clock.h"

#include <errno.h>
#include <time.h>

#include "agent.h"
#include "ops.h"
#include "text.h"

static int64_t dry_shift_ns;

uint64_t clock_now(void) { return realtime_ns() + (uint64_t)dry_shift_ns; }

int clock_set(uint64_t time_ns) {
  if (agent.dry) {
    dry_shift_ns = (int64_t)(time_ns - realtime_ns());
    return 0;
  }
  struct timespec t = {.tv_sec = (time_t)(time_ns / NS_PER_S), .tv_nsec = (long)(time_ns % NS_PER_S)};
  return clock_settime(CLOCK_REALTIME, &t) < 0 ? -errno : 0;
}

void op_clock_set(const struct request *rq) {
  uint64_t time_ns;
  if (field_u64(rq->fields, F_TIME_NS, 0, &time_ns) || time_ns == 0) {
    reply_error(rq->reply, EINVAL, "timeNs is missing or malformed");
    return;
  }
  int error = clock_set(time_ns);
  if (error) {
    reply_error(rq->reply, error, NULL);
    return;
  }
  struct buf *b = reply_begin(rq->reply);
  put_u64_field(b, F_TIME_NS, clock_now());
  reply_end(rq->reply, b);
}

void op_ping(const struct request *rq) {
  struct buf *b = reply_begin(rq->reply);
  put_u64_field(b, F_TIME_NS, clock_now());
  put_u64_field(b, F_MONOTONIC_NS, monotonic_ns());
  reply_end(rq->reply, b);
}

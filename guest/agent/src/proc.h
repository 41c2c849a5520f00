/* Processes started by the agent: a table that outlives sessions and forks (docs/agent-protocol.md, section 7). */
#ifndef RAMET_PROC_H
#define RAMET_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "loop.h"
#include "ring.h"
#include "session.h"
#include "stream.h"

#define PROC_TERMINAL 1u
#define PROC_DETACHED 2u
#define PROC_NO_STDIN 4u
#define PROC_KEEP_OTHERS 8u
#define PROC_GROUP 16u
#define PROC_ATTACHED 32u

enum proc_state { PROC_STARTING, PROC_RUNNING, PROC_EXITED };

struct proc;

/* stdout or stderr: a pipe or terminal that fills a ring. */
struct channel {
  struct proc *proc;
  struct source source;
  struct ring ring;
  uint64_t acked;      /* everything before may make room for new bytes */
  bool eof;            /* nothing comes any more */
  bool last_call;      /* the process has ended and its descendants hold the pipe: only `last_bytes` are still taken */
  uint64_t last_bytes;
};

/* One stream that a process is attached to. */
struct attach {
  struct stream stream;
  struct proc *proc;
  uint64_t sent[2];
  uint64_t acked[2];
  bool eof_sent[2];
  struct attach *next;
};

struct waiter {
  struct stream stream;
  struct proc *proc;
  struct waiter *next;
};

struct proc {
  uint64_t id;
  pid_t pid;
  enum proc_state state;
  bool terminal;
  bool detached;
  bool overwriting; /* nobody is expected: the oldest output makes room */
  uint64_t started_ns;
  uint64_t ended_at; /* monotonic */
  int status;        /* of waitpid */
  char *argv;        /* strings one after the other, cut at 512 bytes */
  size_t argv_bytes;
  char *tag;
  struct channel out[2];
  struct source in;
  struct ring in_ring; /* its head counts the bytes passed on, its tail those accepted */
  uint64_t in_acked;
  bool in_eof;    /* the host has said so */
  bool in_closed; /* nothing more can be passed on */
  struct attach *attaches;
  struct waiter *waiters;
  struct timer grace;
  struct timer drain;
  struct source exec_result; /* while starting */
  struct reply starter;
  uint64_t start_flags;
  struct proc *next;
};

/* The table. */
extern struct proc *procs;
struct proc *proc_new(void);
struct proc *proc_find(uint64_t id);
/* Drops the record, its output, and ends its streams. */
void proc_forget(struct proc *p, const char *why);
/* Drops records that are old or too many. */
void proc_prune(void);
unsigned proc_count_running(void);
/* Called for every child that was reaped; true when it was one of ours. */
bool proc_reaped(pid_t pid, int status);
/* From now on nobody's output waits for a reader: the readers belong to the parent of this fork. */
void proc_detach_all(void);

/* Output. */
void channel_open(struct proc *p, int index, int fd);
void channel_close(struct channel *c);
/* Reads or stops reading, as there is room. */
void channel_update(struct channel *c);
void channel_last_call(struct channel *c);
void channel_notify(struct channel *c);

/* Input. */
void stdin_open(struct proc *p, int fd);
void stdin_close(struct proc *p);
void stdin_data(struct stream *s, struct proc *p, uint64_t offset, const uint8_t *bytes, size_t len);
void stdin_eof(struct stream *s, struct proc *p, uint64_t length);

/* Attaching. */
/* `from` NULL = the oldest byte kept. Answers in the stream of `to`. */
void attach_open(struct proc *p, struct reply to, const uint64_t *from[2], bool keep_others);
void attach_end_all(struct proc *p, const char *why);
/* Puts `exitCode` or `signal`. */
void put_exit_fields(struct buf *b, const struct proc *p);

#endif

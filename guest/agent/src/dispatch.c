#include "dispatch.h"

#include <errno.h>
#include <string.h>

#include "ops.h"

struct operation {
  const char *name;
  void (*run)(const struct request *rq);
  unsigned since; /* protocol version */
};

/* The operations of a fork's path come first. */
static const struct operation operations[] = {
    {"ping", op_ping, 1},
    {"identity.apply", op_identity_apply, 1},
    {"thaw", op_thaw, 1},
    {"freeze", op_freeze, 1},
    {"proc.start", op_proc_start, 1},
    {"proc.attach", op_proc_attach, 1},
    {"proc.detach", op_proc_detach, 1},
    {"proc.wait", op_proc_wait, 1},
    {"proc.signal", op_proc_signal, 1},
    {"proc.resize", op_proc_resize, 1},
    {"proc.list", op_proc_list, 1},
    {"proc.forget", op_proc_forget, 1},
    {"file.stat", op_file_stat, 1},
    {"file.list", op_file_list, 1},
    {"file.read", op_file_read, 1},
    {"file.write", op_file_write, 1},
    {"file.mkdir", op_file_mkdir, 1},
    {"file.remove", op_file_remove, 1},
    {"file.rename", op_file_rename, 1},
    {"watch", op_watch, 2},
    {"tunnel", op_tunnel, 1},
    {"hooks.run", op_hooks_run, 1},
    {"clock.set", op_clock_set, 1},
    {"metrics", op_metrics, 2},
    {"sync", op_sync, 1},
    {"fs.freeze", op_fs_freeze, 2},
    {"fs.thaw", op_fs_thaw, 2},
    {"shutdown", op_shutdown, 1},
};

void dispatch(const struct request *rq) {
  struct field op;
  if (!fields_valid(rq->fields) || !field_find(rq->fields, F_OP, &op)) {
    reply_error(rq->reply, EBADMSG, "the request's fields are malformed");
    return;
  }
  for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
    const struct operation *o = &operations[i];
    if (strlen(o->name) != op.len || memcmp(o->name, op.at, op.len) != 0) continue;
    if (o->since > session_version()) break;
    o->run(rq);
    return;
  }
  reply_error(rq->reply, ENOSYS, "no such operation in this protocol version");
}

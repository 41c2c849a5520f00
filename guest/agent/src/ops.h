/* All operations (docs/agent-protocol.md, section 6). Each answers its request with exactly one RESPONSE, now or later. */
#ifndef RAMET_OPS_H
#define RAMET_OPS_H

#include "session.h"

void op_ping(const struct request *rq);
void op_identity_apply(const struct request *rq);
void op_thaw(const struct request *rq);
void op_freeze(const struct request *rq);
void op_proc_start(const struct request *rq);
void op_proc_attach(const struct request *rq);
void op_proc_detach(const struct request *rq);
void op_proc_wait(const struct request *rq);
void op_proc_signal(const struct request *rq);
void op_proc_resize(const struct request *rq);
void op_proc_list(const struct request *rq);
void op_proc_forget(const struct request *rq);
void op_file_stat(const struct request *rq);
void op_file_list(const struct request *rq);
void op_file_read(const struct request *rq);
void op_file_write(const struct request *rq);
void op_file_mkdir(const struct request *rq);
void op_file_remove(const struct request *rq);
void op_file_rename(const struct request *rq);
void op_watch(const struct request *rq);
void op_tunnel(const struct request *rq);
void op_hooks_run(const struct request *rq);
void op_clock_set(const struct request *rq);
void op_metrics(const struct request *rq);
void op_sync(const struct request *rq);
void op_fs_freeze(const struct request *rq);
void op_fs_thaw(const struct request *rq);
void op_shutdown(const struct request *rq);

#endif

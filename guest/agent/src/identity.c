#include "identity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent.h"
#include "clock.h"
#include "entropy.h"
#include "fs-freeze.h"
#include "identity-files.h"
#include "nic.h"
#include "ops.h"
#include "proc.h"
#include "text.h"

#define ID_CHARS 128

static struct {
  char vm_id[16 + ID_CHARS]; /* with its variable's name in front, as the environment wants it */
  char parent_id[20 + ID_CHARS];
  char fork_index[40];
  char generation[40];
  uint64_t fork_index_value;
  char **env;
} now = {.vm_id = "RAMET_VM_ID=", .parent_id = "RAMET_PARENT_ID=", .fork_index = "RAMET_FORK_INDEX=0",
         .generation = "RAMET_GENERATION=0"};

static const char *value_of(const char *assignment) { return strchr(assignment, '=') + 1; }

void identity_env(struct env *e) {
  env_set(e, now.vm_id);
  env_set(e, now.parent_id);
  env_set(e, now.fork_index);
  env_set(e, now.generation);
  env_set_all(e, now.env);
}

static void assign_u64(char *dst, size_t cap, const char *name, uint64_t v) {
  struct text t;
  text_init(&t, dst, cap);
  text_add(&t, name);
  text_add_u64(&t, v);
}

static int take_text(struct fields fields, uint16_t key, const char *name, char *dst, size_t cap) {
  char value[ID_CHARS];
  if (!field_has(fields, key)) return 0;
  int error = field_text(fields, key, value, sizeof value);
  if (!error) text_join(dst, cap, name, value, NULL);
  return error;
}

/* Ids, numbers and environment: what lives in the agent alone. */
static int take_names(struct fields fields) {
  uint64_t generation, fork_index;
  size_t count;
  char **env;
  int error = field_u64(fields, F_GENERATION, agent.generation, &generation);
  if (!error) error = field_u64(fields, F_FORK_INDEX, now.fork_index_value, &fork_index);
  if (!error) error = take_text(fields, F_VM_ID, "RAMET_VM_ID=", now.vm_id, sizeof now.vm_id);
  if (!error) error = take_text(fields, F_PARENT_ID, "RAMET_PARENT_ID=", now.parent_id, sizeof now.parent_id);
  if (!error) error = field_list(fields, F_ENV, &env, &count);
  if (error) return error;
  free(now.env);
  now.env = env;
  agent.generation = generation;
  now.fork_index_value = fork_index;
  assign_u64(now.fork_index, sizeof now.fork_index, "RAMET_FORK_INDEX=", fork_index);
  assign_u64(now.generation, sizeof now.generation, "RAMET_GENERATION=", generation);
  return 0;
}

static int apply_host_names(struct fields fields, const char **message) {
  char text[80];
  *message = "the hostname cannot be set";
  int error = field_text(fields, F_HOSTNAME, text, sizeof text);
  if (!error && text[0]) error = identity_set_hostname(text);
  if (error) return error;
  *message = "the machine-id cannot be set";
  error = field_text(fields, F_MACHINE_ID, text, sizeof text);
  if (!error && text[0]) error = identity_set_machine_id(text);
  return error;
}

static int apply_nics(struct fields fields, const char **message) {
  struct field f;
  while (field_next(&fields, &f)) {
    if (f.key != F_NIC) continue;
    struct fields record = {f.at, f.len};
    *message = "a network card's record is malformed";
    int error = fields_valid(record) ? nic_apply(record, message) : -EINVAL;
    if (error) return error;
  }
  return 0;
}

static int apply_seed(struct fields fields, uint8_t *proof, bool *proved) {
  struct field seed;
  *proved = field_find(fields, F_SEED, &seed);
  if (!*proved) return 0;
  return seed.len == SEED_BYTES ? entropy_reseed(seed.at, proof) : -EINVAL;
}

static int apply_clock(struct fields fields) {
  uint64_t time_ns;
  int error = field_u64(fields, F_TIME_NS, 0, &time_ns);
  return error || time_ns == 0 ? error : clock_set(time_ns);
}

static void add_member(struct text *t, const char *name, const char *value) {
  text_add(t, t->len > 1 ? "," : "");
  text_add_json(t, name);
  text_add(t, ":");
  text_add_json(t, value);
}

static void add_number(struct text *t, const char *name, uint64_t value) {
  text_add(t, ",");
  text_add_json(t, name);
  text_add(t, ":");
  text_add_u64(t, value);
}

static int write_record(const char *hostname, const char *machine_id) {
  char json[2048], dir[512];
  struct text t;
  text_init(&t, json, sizeof json);
  text_add(&t, "{");
  add_member(&t, "vmId", value_of(now.vm_id));
  add_member(&t, "parentId", value_of(now.parent_id));
  add_number(&t, "forkIndex", now.fork_index_value);
  add_number(&t, "generation", agent.generation);
  add_member(&t, "hostname", hostname);
  add_member(&t, "machineId", machine_id);
  add_member(&t, "bootId", agent.boot_id);
  add_number(&t, "at", clock_now() / NS_PER_MS);
  text_add(&t, "}\n");
  if (t.cut || !agent_path(dir, sizeof dir, "/run/ramet")) return -ENAMETOOLONG;
  int error = replace_file("/run/ramet/identity.json", json);
  if (error != -ENOENT) return error;
  mkdir(dir, 0755); /* the first identity of this guest */
  return replace_file("/run/ramet/identity.json", json);
}

static void answer(const struct request *rq, const char *hostname, const char *machine_id, const uint8_t *proof) {
  struct fields walk = rq->fields;
  struct field f;
  struct buf *b = reply_begin(rq->reply);
  put_text_field(b, F_HOSTNAME, hostname);
  put_text_field(b, F_MACHINE_ID, machine_id);
  put_text_field(b, F_VM_ID, value_of(now.vm_id));
  put_text_field(b, F_PARENT_ID, value_of(now.parent_id));
  put_u64_field(b, F_FORK_INDEX, now.fork_index_value);
  put_u64_field(b, F_GENERATION, agent.generation);
  if (proof) put_bytes_field(b, F_PROOF, proof, PROOF_BYTES);
  while (field_next(&walk, &f))
    if (f.key == F_NIC) nic_put(b, (struct fields){f.at, f.len});
  put_u64_field(b, F_TIME_NS, clock_now());
  reply_end(rq->reply, b);
}

/* The order puts what the workload could misuse first, and the clock last, so that the answer's time is fresh. */
void op_identity_apply(const struct request *rq) {
  fs_freeze_end(); /* names are about to be written */
  const char *message = "the identity is malformed";
  char hostname[80] = "", machine_id[40] = "";
  uint8_t proof[PROOF_BYTES];
  bool proved = false;
  int error = take_names(rq->fields);
  if (!error) {
    message = "the generator cannot be reseeded";
    error = apply_seed(rq->fields, proof, &proved);
  }
  if (!error) error = apply_host_names(rq->fields, &message);
  if (!error) error = apply_nics(rq->fields, &message);
  if (!error) {
    message = "the clock cannot be set";
    error = apply_clock(rq->fields);
  }
  if (!error) {
    identity_get_hostname(hostname, sizeof hostname);
    identity_get_machine_id(machine_id, sizeof machine_id);
    message = "/run/ramet/identity.json cannot be written";
    error = write_record(hostname, machine_id);
  }
  proc_detach_all();
  if (error) {
    char text[160];
    text_join(text, sizeof text, message, ": ", strerror(-error), NULL);
    reply_error(rq->reply, error, text);
    return;
  }
  answer(rq, hostname, machine_id, proved ? proof : NULL);
}

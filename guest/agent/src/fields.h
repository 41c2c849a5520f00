/* Payloads as runs of fields (docs/agent-protocol.md, section 4): reading in place, writing into a bounded buffer. */
#ifndef RAMET_FIELDS_H
#define RAMET_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_key {
  F_OP = 1, F_ERRNO = 2, F_MESSAGE = 3, F_VERSION_MIN = 4, F_VERSION_MAX = 5, F_VERSION = 6, F_FEATURE = 7,
  F_AGENT_BUILD = 8, F_BOOT_ID = 9, F_GENERATION = 10, F_INIT_MODE = 11, F_TIME_NS = 12, F_MONOTONIC_NS = 13,
  F_ARG = 16, F_ENV = 17, F_CWD = 18, F_USER = 19, F_FLAGS = 20, F_PID = 21, F_PROCESS_ID = 22, F_EXIT_CODE = 23,
  F_SIGNAL = 24, F_COLUMNS = 25, F_ROWS = 26, F_STATE = 27, F_STARTED_NS = 28, F_STDIN_OFFSET = 29,
  F_STDOUT_OFFSET = 30, F_STDERR_OFFSET = 31, F_TAG = 32, F_TIMEOUT_MS = 33,
  F_PATH = 40, F_TARGET = 41, F_MODE = 42, F_UID = 43, F_GID = 44, F_SIZE = 45, F_MTIME_NS = 46, F_KIND = 47,
  F_OFFSET = 48, F_LIMIT = 49, F_ENTRY = 50, F_NAME = 51, F_ACTION = 52, F_PORT = 60, F_ADDRESS = 61,
  F_HOSTNAME = 70, F_MACHINE_ID = 71, F_VM_ID = 72, F_PARENT_ID = 73, F_FORK_INDEX = 74, F_SEED = 75, F_PROOF = 76,
  F_NIC = 77, F_INDEX = 78, F_MAC = 79, F_GATEWAY = 80, F_DNS = 81, F_LINK_UP = 82,
  F_HOOK = 90, F_DURATION_NS = 91, F_OUTPUT = 92, F_METRIC = 100, F_VALUE = 101,
};

/* A run of fields in memory that somebody else owns. */
struct fields {
  const uint8_t *at;
  size_t len;
};

struct field {
  uint16_t key;
  const uint8_t *at;
  size_t len;
};

/* Takes the next field off the run; false at its end or where it is malformed. */
bool field_next(struct fields *run, struct field *out);
bool fields_valid(struct fields run);

bool field_find(struct fields run, uint16_t key, struct field *out);
/* An unsigned value: `otherwise` when absent; -EINVAL when it is not 8 bytes long. Returns 0 or that. */
int field_u64(struct fields run, uint16_t key, uint64_t otherwise, uint64_t *out);
/* A string into `dst`, terminated: the empty string when absent. -EINVAL with a NUL inside, -ENAMETOOLONG when cut. */
int field_text(struct fields run, uint16_t key, char *dst, size_t cap);
bool field_has(struct fields run, uint16_t key);
bool field_is_text(const struct field *f);
/* The strings of a list as a NULL-terminated array in one allocation; *count without the NULL. 0 or -errno. */
int field_list(struct fields run, uint16_t key, char ***out, size_t *count);

/* Payload being written. When it did not fit, `full` is set and the contents are of no use. */
struct buf {
  uint8_t *at;
  size_t len;
  size_t cap;
  bool full;
};

/* All of these accept NULL and then do nothing: an answer whose session is gone. */
void put_bytes_field(struct buf *b, uint16_t key, const void *data, size_t len);
void put_text_field(struct buf *b, uint16_t key, const char *s);
void put_u64_field(struct buf *b, uint16_t key, uint64_t v);
/* A record: fields between the two calls are inside it. */
size_t record_begin(struct buf *b, uint16_t key);
void record_end(struct buf *b, size_t mark);
void buf_raw(struct buf *b, const void *data, size_t len);

#endif

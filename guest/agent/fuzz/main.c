/*
 * Any bytes whatever never harm the agent, and what it answers is always well-formed.
 *   fuzz --seed N --runs M    from a seed (default: 1, 1000)
 *   fuzz --repro FILE         one input again, as a failure left it
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../src/agent.h"
#include "../src/fields.h"
#include "../src/freeze.h"
#include "../src/frame.h"
#include "../src/loop.h"
#include "../src/out.h"
#include "../src/proc.h"
#include "../src/receive.h"
#include "../src/session.h"
#include "../src/stream.h"
#include "../src/text.h"
#include "fakes.h"
#include "generate.h"
#include "random.h"

#define INPUT_MAX (1u << 20)
#define REPRO "fuzz-failure.bin"

void __sanitizer_set_death_callback(void (*callback)(void));

static uint8_t input[INPUT_MAX + 8];
static size_t input_len;
static uint64_t seed = 1;
static uint64_t run;
static int out_ends[2];
static uint8_t answer[4 * INPUT_MAX];
static size_t answer_len;

/* The seed of the chunks goes along, so that a repro is cut in the same places. */
static void leave_repro(void) {
  int fd = open(REPRO, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd >= 0) {
    uint64_t chunk_seed = seed + run;
    write_all(fd, &chunk_seed, sizeof chunk_seed);
    write_all(fd, input, input_len);
    close(fd);
  }
  fprintf(stderr, "fuzz: failed at --seed %llu, run %llu; again: build/fuzz --repro %s\n", (unsigned long long)seed,
          (unsigned long long)run, REPRO);
}

static void fail(const char *why) {
  fprintf(stderr, "fuzz: %s\n", why);
  leave_repro();
  _exit(1);
}

/* The agent's side of the wire must be openings and whole, well-formed frames. */
static void check_answer(void) {
  size_t at = 0;
  while (at < answer_len) {
    struct frame f;
    size_t left = answer_len - at;
    if (left >= MARKER_BYTES + NONCE_BYTES && memcmp(answer + at, link_marker, MARKER_BYTES) == 0) {
      at += MARKER_BYTES + NONCE_BYTES;
      continue;
    }
    if (left < FRAME_HEADER_BYTES || !frame_decode(answer + at, &f)) fail("the answer has no whole frame");
    if (left - FRAME_HEADER_BYTES < f.length) fail("the answer ends within a frame");
    struct fields fields = {answer + at + FRAME_HEADER_BYTES, f.length};
    bool bytes = f.type == FRAME_DATA || f.type == FRAME_ACK || f.type == FRAME_EOF;
    if (!bytes && !fields_valid(fields)) fail("the answer's fields are malformed");
    at += FRAME_HEADER_BYTES + f.length;
  }
  answer_len = 0;
}

static void drain(void) {
  int error;
  do {
    error = out_flush(out_ends[1]);
    ssize_t n;
    while ((n = read(out_ends[0], answer + answer_len, sizeof answer - answer_len)) > 0) answer_len += (size_t)n;
  } while (error == -EAGAIN);
  check_answer();
}

static bool turn(void) {
  static int turns;
  stream_produce();
  drain();
  receive_resume();
  if (++turns % 3 == 0) loop_stop();
  return true;
}

static void one(uint64_t chunk_seed) {
  random_seed(chunk_seed);
  for (size_t at = 0; at < input_len;) {
    size_t room;
    uint8_t *space = receive_space(&room);
    size_t chunk = random_one_in(3) ? 1 + random_below(40) : 1 + random_below(4096);
    if (chunk > input_len - at) chunk = input_len - at;
    if (chunk > room) chunk = room;
    memcpy(space, input + at, chunk);
    receive_bytes(chunk);
    at += chunk;
    if (random_one_in(3)) fakes_step();
    if (random_one_in(2)) loop_run(turn);
    if (random_one_in(200)) {
      drain();
      receive_reset();
      session_end();
    }
  }
  loop_run(turn);
  receive_reset();
  session_end();
  answer_len = 0;
  freeze_end();
  fakes_reset();
  while (procs) proc_forget(procs, "over");
}

static void repro(const char *path) {
  uint64_t chunk_seed;
  int fd = open(path, O_RDONLY);
  if (fd < 0 || read(fd, &chunk_seed, sizeof chunk_seed) != (ssize_t)sizeof chunk_seed) {
    perror(path);
    exit(2);
  }
  ssize_t n = read(fd, input, INPUT_MAX);
  close(fd);
  input_len = n > 0 ? (size_t)n : 0;
  seed = chunk_seed;
  one(chunk_seed);
}

static bool make_root(const char *root) {
  char etc[64], own[64];
  return text_join(etc, sizeof etc, root, "/etc", NULL) && text_join(own, sizeof own, root, "/run", NULL) &&
         mkdir(etc, 0700) == 0 && mkdir(own, 0700) == 0;
}

int main(int argc, char **argv) {
  uint64_t runs = 1000;
  const char *file = NULL;
  char root[] = "/tmp/ramet-fuzz-XXXXXX";
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--seed") == 0) seed = strtoull(argv[i + 1], NULL, 10);
    if (strcmp(argv[i], "--runs") == 0) runs = strtoull(argv[i + 1], NULL, 10);
    if (strcmp(argv[i], "--repro") == 0) file = argv[i + 1];
  }
  if (!mkdtemp(root) || !make_root(root) || pipe2(out_ends, O_NONBLOCK | O_CLOEXEC) < 0) return 2;
  agent.dry = true;
  agent.root = root;
  __sanitizer_set_death_callback(leave_repro);
  loop_init();
  if (file) repro(file);
  for (run = 0; !file && run < runs; run++) {
    random_seed(seed + run);
    input_len = generate(input, 65536);
    one(seed + run);
  }
  const char *left[] = {"/run/ramet/identity.json", "/run/ramet", "/run", "/etc/hostname", "/etc/hosts", "/etc/machine-id",
                        "/etc", ""};
  for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
    char path[128];
    if (text_join(path, sizeof path, root, left[i], NULL)) remove(path);
  }
  printf("fuzz: %llu runs from seed %llu: ok\n", (unsigned long long)(file ? 1 : runs), (unsigned long long)seed);
  return 0;
}

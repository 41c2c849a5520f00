/*
 * What the measurements of live forks do inside a guest (guest-load.ts builds and starts it):
 *
 *   fill FILE BYTES SEED                        makes FILE that long and writes all of it, incompressible
 *   work FILE BYTES TICK_MS                     counts; each count writes a page of FILE, or of its own when BYTES is 0
 *   disk-fill DEVICE OFFSET BYTES SEED          writes incompressible data past the page cache, and flushes
 *   disk-scatter DEVICE CLUSTERS COUNT FIRST BYTE
 *                                               writes COUNT clusters of 64 KiB, spread over the first CLUSTERS
 *
 * FILE lies on a tmpfs, so that its pages are the guest's memory and nothing else.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define CLUSTER (64u * 1024u)
#define CHUNK (1024u * 1024u)
/* Odd and not small, so that neighbours in the count lie far apart; spreadClusters of guest-load.ts knows it too. */
#define STRIDE 40503u

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static uint64_t number(const char *text) {
  char *end;
  uint64_t value = strtoull(text, &end, 10);
  if (*text == '\0' || *end != '\0') {
    fprintf(stderr, "%s is no number\n", text);
    exit(2);
  }
  return value;
}

static uint64_t mix(uint64_t state) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^ (state << 17);
}

static void scramble(uint64_t *words, size_t bytes, uint64_t seed) {
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (size_t index = 0; index < bytes / sizeof *words; index += 1) {
    state = mix(state);
    words[index] = state;
  }
}

static void *map_file(const char *path, size_t bytes) {
  int fd = open(path, O_RDWR | O_CREAT, 0600);
  if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0) fail(path);
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) fail("mmap");
  close(fd);
  return memory;
}

static void fill(const char *path, size_t bytes, uint64_t seed) {
  char *memory = map_file(path, bytes);
  for (size_t at = 0; at + PAGE <= bytes; at += PAGE) scramble((uint64_t *)(memory + at), PAGE, seed + at);
}

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Ends in a fork's child, which has a name of its own: only the parent's count is wanted. */
static void work(const char *path, size_t bytes, int64_t tick_ms) {
  static uint64_t own[PAGE / sizeof(uint64_t)];
  char born[256] = "", name[256] = "";
  gethostname(born, sizeof born - 1);
  size_t size = bytes < PAGE ? PAGE : bytes / PAGE * PAGE;
  char *memory = bytes < PAGE ? (char *)own : map_file(path, size);
  int64_t tick_at = now_ms() + tick_ms;
  size_t at = 0;
  for (uint64_t count = 1;; count += 1) {
    scramble((uint64_t *)(memory + at), PAGE, count);
    at = at + PAGE < size ? at + PAGE : 0;
    if (count % 16 != 0) continue;
    gethostname(name, sizeof name - 1);
    if (strcmp(born, name) != 0) return;
    if (now_ms() < tick_at) continue;
    printf("%llu\n", (unsigned long long)count);
    fflush(stdout);
    tick_at = now_ms() + tick_ms;
  }
}

static int open_device(const char *path) {
  int fd = open(path, O_RDWR | O_DIRECT);
  if (fd < 0) fail(path);
  return fd;
}

static void write_all(int fd, const char *data, size_t bytes, uint64_t offset) {
  for (size_t done = 0; done < bytes;) {
    ssize_t count = pwrite(fd, data + done, bytes - done, (off_t)(offset + done));
    if (count <= 0) fail("pwrite");
    done += (size_t)count;
  }
}

static void disk_fill(const char *path, uint64_t offset, uint64_t bytes, uint64_t seed) {
  static _Alignas(4096) char chunk[CHUNK];
  int fd = open_device(path);
  for (uint64_t done = 0; done < bytes; done += CHUNK) {
    size_t length = bytes - done < CHUNK ? (size_t)(bytes - done) : CHUNK;
    scramble((uint64_t *)(void *)chunk, CHUNK, seed + done);
    write_all(fd, chunk, length, offset + done);
  }
  if (fsync(fd) < 0) fail("fsync");
}

static void disk_scatter(const char *path, uint64_t clusters, uint64_t count, uint64_t first, int byte) {
  static _Alignas(4096) char chunk[CLUSTER];
  int fd = open_device(path);
  memset(chunk, byte, sizeof chunk);
  for (uint64_t index = 0; index < count; index += 1)
    write_all(fd, chunk, sizeof chunk, (first + index) * STRIDE % clusters * CLUSTER);
  if (fsync(fd) < 0) fail("fsync");
}

int main(int argc, char **argv) {
  const char *verb = argc > 1 ? argv[1] : "";
  if (argc == 5 && strcmp(verb, "fill") == 0) fill(argv[2], number(argv[3]), number(argv[4]));
  else if (argc == 5 && strcmp(verb, "work") == 0) work(argv[2], number(argv[3]), (int64_t)number(argv[4]));
  else if (argc == 6 && strcmp(verb, "disk-fill") == 0)
    disk_fill(argv[2], number(argv[3]), number(argv[4]), number(argv[5]));
  else if (argc == 7 && strcmp(verb, "disk-scatter") == 0)
    disk_scatter(argv[2], number(argv[3]), number(argv[4]), number(argv[5]), (int)number(argv[6]));
  else {
    fprintf(stderr, "fill, work, disk-fill or disk-scatter, each with its arguments\n");
    return 2;
  }
  return 0;
}

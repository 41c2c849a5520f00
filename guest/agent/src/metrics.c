/* metrics: numbers about the guest, from /proc. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "ops.h"
#include "text.h"

#define FILE_MAX 4096 /* enough of each; more would be more pages of stack */
#define SECTOR_BYTES 512

static void put_metric(struct buf *b, const char *name, uint64_t value) {
  size_t mark = record_begin(b, F_METRIC);
  put_text_field(b, F_NAME, name);
  put_u64_field(b, F_VALUE, value);
  record_end(b, mark);
}

/* The column-th number of a line, counting from 0, words that are no numbers counted too. */
static uint64_t column(const char *line, unsigned index) {
  uint64_t value = 0;
  for (;;) {
    line += strspn(line, " :");
    size_t n = strcspn(line, " :\n");
    if (n == 0) return 0;
    if (index-- == 0) return parse_u64(line, n, &value) ? value : 0;
    line += n;
  }
}

static void put_cpu(struct buf *b, char *text) {
  if (read_file("/proc/stat", text, FILE_MAX) < 0) return;
  uint64_t tick_ns = NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
  put_metric(b, "cpu.user_ns", (column(text, 1) + column(text, 2)) * tick_ns);
  put_metric(b, "cpu.system_ns", (column(text, 3) + column(text, 6) + column(text, 7)) * tick_ns);
  put_metric(b, "cpu.idle_ns", column(text, 4) * tick_ns);
  put_metric(b, "cpu.iowait_ns", column(text, 5) * tick_ns);
}

static uint64_t meminfo(const char *text, const char *name) {
  const char *line = strstr(text, name);
  return line ? column(line, 1) * 1024 : 0;
}

static void put_memory(struct buf *b, char *text) {
  if (read_file("/proc/meminfo", text, FILE_MAX) < 0) return;
  put_metric(b, "memory.total_bytes", meminfo(text, "MemTotal:"));
  put_metric(b, "memory.free_bytes", meminfo(text, "MemFree:"));
  put_metric(b, "memory.available_bytes", meminfo(text, "MemAvailable:"));
  put_metric(b, "memory.cached_bytes", meminfo(text, "\nCached:"));
}

/* Whole disks only: virtio disks end in a letter, their partitions in a digit. */
static bool is_whole_disk(const char *line) {
  const char *name = strstr(line, " vd");
  const char *end = strchr(line, '\n');
  if (!name || (end && name > end)) return false;
  size_t n = strcspn(name + 1, " ");
  char last = name[n];
  return last < '0' || last > '9';
}

static void put_disk(struct buf *b, char *text) {
  struct statvfs fs;
  uint64_t read_sectors = 0, written_sectors = 0;
  if (statvfs("/", &fs) == 0) {
    put_metric(b, "disk.total_bytes", (uint64_t)fs.f_blocks * fs.f_frsize);
    put_metric(b, "disk.free_bytes", (uint64_t)fs.f_bavail * fs.f_frsize);
  }
  if (read_file("/proc/diskstats", text, FILE_MAX) < 0) return;
  for (const char *line = text; *line;) {
    if (is_whole_disk(line)) {
      read_sectors += column(line, 5);
      written_sectors += column(line, 9);
    }
    const char *end = strchr(line, '\n');
    if (!end) break;
    line = end + 1;
  }
  put_metric(b, "disk.read_bytes", read_sectors * SECTOR_BYTES);
  put_metric(b, "disk.written_bytes", written_sectors * SECTOR_BYTES);
}

static void put_net(struct buf *b, char *text) {
  uint64_t rx = 0, tx = 0;
  if (read_file("/proc/net/dev", text, FILE_MAX) < 0) return;
  for (const char *line = text; *line;) {
    const char *name = line + strspn(line, " ");
    bool counted = strchr(name, ':') && strncmp(name, "lo:", 3) != 0 && !memchr(name, '|', strcspn(name, "\n"));
    if (counted) {
      rx += column(line, 1);
      tx += column(line, 9);
    }
    const char *end = strchr(line, '\n');
    if (!end) break;
    line = end + 1;
  }
  put_metric(b, "net.rx_bytes", rx);
  put_metric(b, "net.tx_bytes", tx);
}

static uint64_t count_processes(void) {
  uint64_t n = 0;
  DIR *dir = opendir("/proc");
  if (!dir) return 0;
  for (struct dirent *e = readdir(dir); e; e = readdir(dir))
    if (e->d_name[0] >= '1' && e->d_name[0] <= '9') n++;
  closedir(dir);
  return n;
}

void op_metrics(const struct request *rq) {
  char text[FILE_MAX];
  struct timespec up;
  struct buf *b = reply_begin(rq->reply);
  put_cpu(b, text);
  put_memory(b, text);
  put_disk(b, text);
  put_net(b, text);
  put_metric(b, "processes", count_processes());
  clock_gettime(CLOCK_BOOTTIME, &up);
  put_metric(b, "uptime_ns", (uint64_t)up.tv_sec * NS_PER_S + (uint64_t)up.tv_nsec);
  if (read_file("/proc/self/statm", text, FILE_MAX) > 0)
    put_metric(b, "agent.rss_bytes", column(text, 1) * (uint64_t)sysconf(_SC_PAGESIZE));
  reply_end(rq->reply, b);
}

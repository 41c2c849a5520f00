/*
 * Writes numbered pages into guest memory and onto disks, and reads back which number each page holds. A page says
 * its number and its place, and every other word follows from both, so that a page that is torn, stale or somebody
 * else's is told from a right one. Disks are read and written past the page cache.
 *
 *   scribe write < ORDERS       m PAGE COUNT NUMBER | d DISK BLOCK COUNT NUMBER STRIDE | z DISK BLOCK COUNT (zeros) |
 *                               x DISK BLOCK COUNT (discards)
 *   scribe read PAGES DISKS     the same for all that is not zero, and how the pulse is
 *   scribe pulse DISKS          counts in memory and on all disks at once for ever, and ends when they disagree
 *   scribe sum FILES            a sum of each file or disk: several times faster under emulation than md5sum
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* From linux/fs.h, which a compiler for static programs may lack. */
#define BLKDISCARD _IO(0x12, 119)
#define BLKZEROOUT _IO(0x12, 127)

enum { page_bytes = 4096, page_words = page_bytes / 8, chunk_pages = 256, disk_max = 8 };

static const char memory_path[] = "/tmp/scribe.pages";
static const char failure_path[] = "/tmp/scribe.failure";
static const char pulse_path[] = "/tmp/scribe.pulse";

static uint64_t chunk[chunk_pages * page_words] __attribute__((aligned(page_bytes)));

static void die(const char *what)
{
	fprintf(stderr, "scribe: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_disk(unsigned disk)
{
	char path[] = "/dev/vda";
	int fd;

	path[7] = (char)('a' + disk);
	fd = open(path, O_RDWR | O_DIRECT);
	if (fd < 0)
		die(path);
	return fd;
}

static int open_memory(void)
{
	int fd = open(memory_path, O_RDWR | O_CREAT, 0600);

	if (fd < 0)
		die(memory_path);
	return fd;
}

/* Number 0 is a page of zeros. */
static void fill_page(uint64_t *page, uint64_t place, uint64_t number)
{
	uint64_t word = (number ^ (place << 40)) * 0x9e3779b97f4a7c15u;

	if (number == 0) {
		memset(page, 0, page_bytes);
		return;
	}
	page[0] = number;
	page[1] = place;
	for (unsigned i = 2; i < page_words; i++)
		page[i] = word += 0xbf58476d1ce4e5b9u;
}

/* The number of a page, or -1 for one that nobody has written like this, or not here. */
static int64_t number_of(const uint64_t *page, uint64_t place)
{
	static uint64_t expected[page_words];
	static const uint64_t zeros[page_words];

	if (page[0] == 0)
		return memcmp(page, zeros, page_bytes) == 0 ? 0 : -1;
	fill_page(expected, place, page[0]);
	return memcmp(page, expected, page_bytes) == 0 ? (int64_t)page[0] : -1;
}

static uint64_t place_on(unsigned disk, uint64_t block)
{
	return ((uint64_t)disk + 1) << 32 | block;
}

static void write_pages(int fd, uint64_t place, uint64_t index, uint64_t count, uint64_t number)
{
	while (count > 0) {
		uint64_t now = count < chunk_pages ? count : chunk_pages;

		for (uint64_t i = 0; i < now; i++)
			fill_page(chunk + i * page_words, place + i, number);
		if (pwrite(fd, chunk, now * page_bytes, (off_t)(index * page_bytes)) != (ssize_t)(now * page_bytes))
			die("write");
		place += now;
		index += now;
		count -= now;
	}
}

/* One page here and one there, so that each takes a cluster of its own. */
static void write_scattered(int fd, unsigned disk, uint64_t index, uint64_t count, uint64_t number, uint64_t stride)
{
	for (uint64_t i = 0; i < count; i++, index += stride)
		write_pages(fd, place_on(disk, index), index, 1, number);
}

static void range_request(int fd, unsigned long request, uint64_t index, uint64_t count)
{
	uint64_t range[2] = { index * page_bytes, count * page_bytes };

	if (ioctl(fd, request, range) != 0)
		die(request == BLKDISCARD ? "discard" : "zero out");
}

static void obey(void)
{
	int disks[disk_max] = { 0 };
	int memory = open_memory();
	char line[128];

	while (fgets(line, sizeof line, stdin) != NULL) {
		unsigned disk = 0;
		uint64_t index, count, number = 0, stride = 1;

		if (line[0] == 'm' && sscanf(line, "m %" SCNu64 " %" SCNu64 " %" SCNu64, &index, &count, &number) == 3) {
			write_pages(memory, index, index, count, number);
			continue;
		}
		if (sscanf(line + 1, "%u %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &disk, &index, &count, &number, &stride) < 3 || disk >= disk_max)
			die(line);
		if (disks[disk] == 0)
			disks[disk] = open_disk(disk);
		if (line[0] == 'd' && stride > 1)
			write_scattered(disks[disk], disk, index, count, number, stride);
		else if (line[0] == 'd')
			write_pages(disks[disk], place_on(disk, index), index, count, number);
		else
			range_request(disks[disk], line[0] == 'x' ? BLKDISCARD : BLKZEROOUT, index, count);
	}
	for (unsigned disk = 0; disk < disk_max; disk++)
		if (disks[disk] != 0 && fsync(disks[disk]) != 0)
			die("fsync");
}

/* Says a run of pages once its end is known. */
static void tell(const char *what, uint64_t index, uint64_t count, int64_t number)
{
	if (count > 0 && number != 0)
		printf("%s %" PRIu64 " %" PRIu64 " %" PRId64 "\n", what, index, count, number);
}

static void report(const char *what, int fd, uint64_t place, uint64_t pages)
{
	uint64_t start = 0, index = 0;
	int64_t current = 0;

	while (index < pages) {
		uint64_t wanted = pages - index < chunk_pages ? pages - index : chunk_pages;
		ssize_t got = pread(fd, chunk, wanted * page_bytes, (off_t)(index * page_bytes));

		if (got < 0)
			die("read");
		/* A file that is shorter holds zeros beyond its end. */
		memset((char *)chunk + got, 0, sizeof chunk - (size_t)got);
		for (uint64_t i = 0; i < wanted; i++, index++) {
			const uint64_t *page = chunk + i * page_words;
			int64_t number = number_of(page, place + index);

			if (number == -1)
				printf("? %s %" PRIu64 " claims number %" PRIu64 " at %#" PRIx64 "\n", what, index, page[0], page[1]);
			if (number == current)
				continue;
			tell(what, start, index - start, current);
			start = index;
			current = number;
		}
	}
	tell(what, start, index - start, current);
}

/* Each step is a bijection of the sum, so that no single word can differ unnoticed; of more it is a matter of 2^-64. */
static uint64_t sum_words(uint64_t sum, const uint64_t *words, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		sum = (sum ^ words[i]) * 0x9e3779b97f4a7c15u;
		sum = sum << 27 | sum >> 37;
	}
	return sum;
}

static void sum_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECT);
	uint64_t sum = 0x243f6a8885a308d3u, bytes = 0;
	ssize_t got;

	/* Memory file systems know no other way than through the cache. */
	if (fd < 0 && errno == EINVAL)
		fd = open(path, O_RDONLY);
	if (fd < 0)
		die(path);
	while ((got = read(fd, chunk, sizeof chunk)) > 0) {
		memset((char *)chunk + got, 0, sizeof chunk - (size_t)got);
		sum = sum_words(sum, chunk, ((size_t)got + 7) / 8);
		bytes += (uint64_t)got;
	}
	if (got < 0)
		die(path);
	printf("%016" PRIx64 " %" PRIu64 " %s\n", sum_words(sum, &bytes, 1), bytes, path);
	close(fd);
}

static void report_pulse(void)
{
	char text[256] = "";
	FILE *file = fopen(failure_path, "r");
	int pid;

	if (file != NULL) {
		if (fgets(text, sizeof text, file) == NULL)
			text[0] = 0;
		printf("pulse failed %s\n", text);
		return;
	}
	file = fopen(pulse_path, "r");
	if (file == NULL)
		puts("pulse none");
	else
		puts(fscanf(file, "%d", &pid) == 1 && kill(pid, 0) == 0 ? "pulse alive" : "pulse dead");
}

static void fail(const char *format, ...)
{
	FILE *file = fopen(failure_path, "w");
	va_list args;

	va_start(args, format);
	if (file != NULL) {
		vfprintf(file, format, args);
		fclose(file);
	}
	exit(1);
}

/* Memory and disks captured at two moments differ in their counts: looked at before each step, also first in a child. */
static void pulse(unsigned disk_count)
{
	const struct timespec pause = { .tv_nsec = 40 * 1000 * 1000 };
	FILE *file = fopen(pulse_path, "w");
	int disks[disk_max];
	uint64_t last[disk_max];

	if (file == NULL || disk_count > disk_max)
		die(pulse_path);
	fprintf(file, "%d", getpid());
	fclose(file);
	for (unsigned disk = 0; disk < disk_count; disk++) {
		off_t size;

		disks[disk] = open_disk(disk);
		size = lseek(disks[disk], 0, SEEK_END);
		last[disk] = (uint64_t)size / page_bytes - 1;
		write_pages(disks[disk], 0, last[disk], 1, 0);
	}
	for (uint64_t count = 0;; count++) {
		for (unsigned disk = 0; disk < disk_count; disk++) {
			if (pread(disks[disk], chunk, page_bytes, (off_t)(last[disk] * page_bytes)) != page_bytes)
				fail("disk %u cannot be read: %s", disk, strerror(errno));
			if (number_of(chunk, count == 0 ? 0 : place_on(disk, last[disk])) != (int64_t)count)
				fail("memory counts %" PRIu64 ", disk %u %" PRIu64, count, disk, chunk[0]);
		}
		for (unsigned disk = 0; disk < disk_count; disk++)
			write_pages(disks[disk], place_on(disk, last[disk]), last[disk], 1, count + 1);
		nanosleep(&pause, NULL);
	}
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "write") == 0) {
		obey();
	} else if (argc >= 3 && strcmp(argv[1], "read") == 0) {
		report("m", open_memory(), 0, strtoull(argv[2], NULL, 10));
		for (int i = 3; i < argc; i++) {
			char what[] = "d 0";

			what[2] = (char)('0' + i - 3);
			report(what, open_disk((unsigned)i - 3), place_on((unsigned)i - 3, 0), strtoull(argv[i], NULL, 10));
		}
		report_pulse();
	} else if (argc == 3 && strcmp(argv[1], "pulse") == 0) {
		pulse((unsigned)atoi(argv[2]));
	} else if (argc >= 3 && strcmp(argv[1], "sum") == 0) {
		for (int i = 2; i < argc; i++)
			sum_file(argv[i]);
	} else {
		return 2;
	}
	return 0;
}

/*
 * The first and only program of a guest: makes processes with memory of many kinds, lets them fall asleep for ever, and
 * writes down on the second serial port which frame each of their pages is in, as /proc/PID/pagemap tells it:
 *
 *   I <what> <value>              about the guest
 *   P <pid> <kind>                a process; then its pages, hexadecimal:
 *   M <virtual page> <frame> <count>
 *   E                             that was all; nothing moves any more
 *
 * With a number as its argument, one more process, which is not told about, holds that many MiB in scattered pages.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096UL
#define MIB (1024UL * 1024UL)
/* the user's half ends here with four levels; only what asks for more gets more with five */
#define HIGH_HINT ((void *)(1UL << 50))

/* From asm/ldt.h, which a compiler for static programs may lack. */
struct user_desc {
	unsigned entry_number, base_addr, limit;
	unsigned seg_32bit : 1, contents : 2, read_exec_only : 1, limit_in_pages : 1, seg_not_present : 1, useable : 1, lm : 1;
};

static int ready[2];
static FILE *out;

static void check(int holds, const char *what)
{
	if (holds)
		return;
	if (out)
		fprintf(out, "I failed %s\n", what), fflush(out);
	for (;;)
		pause();
}

static char *map(void *hint, size_t bytes, int protection, int flags, int fd)
{
	char *at = mmap(hint, bytes, protection, flags, fd, 0);

	check(at != MAP_FAILED, "mmap");
	return at;
}

static char *anonymous(void *hint, size_t bytes)
{
	return map(hint, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

/* Touches every page once, in an order in which no two neighbours follow each other. */
static void scatter(char *at, size_t pages)
{
	for (size_t i = 0, page = 0; i < pages; i++, page = (page + 617) % pages)
		*(uint64_t *)(at + page * PAGE) = i + 1;
}

static void sleep_for_ever(void)
{
	check(write(ready[1], "r", 1) == 1, "ready");
	for (;;)
		pause();
}

static void hold_heap(void)
{
	/* two stretches with a gap, then every second page of a third */
	scatter(anonymous(0, 4 * MIB), 1024);
	scatter(anonymous(HIGH_HINT, 1 * MIB), 256);
	char *sparse = anonymous(0, 2 * MIB);
	for (size_t page = 0; page < 512; page += 2)
		sparse[page * PAGE] = 1;
}

static void hold_file(void)
{
	struct stat status;
	int fd = open("/init", O_RDONLY);

	check(fd >= 0 && fstat(fd, &status) == 0, "/init");
	for (int shared = 0; shared < 2; shared++) {
		char *at = map(0, status.st_size, PROT_READ, shared ? MAP_SHARED : MAP_PRIVATE, fd);
		volatile char sum = 0;
		for (off_t byte = 0; byte < status.st_size; byte += PAGE)
			sum += at[byte];
	}
}

static void hold_huge(void)
{
	char *at = anonymous(0, 8 * MIB);
	char *aligned = (char *)(((uintptr_t)at + 2 * MIB - 1) & ~(2 * MIB - 1));

	check(madvise(aligned, 6 * MIB, MADV_HUGEPAGE) == 0, "MADV_HUGEPAGE");
	memset(aligned, 1, 6 * MIB);
	/* half of the last one loses its hugeness, and its second quarter may not be touched any more */
	check(munmap(aligned + 5 * MIB, MIB) == 0, "munmap");
	check(mprotect(aligned, 2 * MIB, PROT_NONE) == 0, "mprotect");
}

static void hold_forbidden(void)
{
	char *at = anonymous(0, MIB);

	scatter(at, 256);
	check(mprotect(at, MIB, PROT_NONE) == 0, "mprotect");
}

static void hold_zero(void)
{
	char *at = anonymous(0, 4 * MIB);
	volatile char sum = 0;

	for (size_t byte = 0; byte < 4 * MIB; byte += PAGE)
		sum += at[byte];
}

/* A descriptor table of its own: under page-table isolation an entry of the kernel's half. */
static void hold_ldt(void)
{
	struct user_desc entry = { .entry_number = 0, .base_addr = 0, .limit = 0xfffff, .seg_32bit = 1, .limit_in_pages = 1 };

	check(syscall(SYS_modify_ldt, 1, &entry, sizeof entry) == 0, "modify_ldt");
	scatter(anonymous(0, MIB), 256);
}

static char *shared;

static void hold_shared(void)
{
	for (size_t page = 0; page < 256; page++)
		shared[page * PAGE] += 1;
}

static void hold_vfork(void)
{
	/* Two processes, one address space: the child sleeps, and so its parent for ever. */
	scatter(anonymous(0, MIB), 256);
	if (vfork() == 0)
		sleep_for_ever();
}

static const struct {
	const char *name;
	void (*hold)(void);
} kinds[] = {
	{ "heap", hold_heap }, { "file", hold_file },       { "huge", hold_huge },
	{ "none", hold_forbidden }, { "zero", hold_zero },  { "ldt", hold_ldt },
	{ "shared-a", hold_shared }, { "shared-b", hold_shared }, { "vfork", hold_vfork },
};
#define KINDS (sizeof kinds / sizeof kinds[0])

static void tell_pages(int pid)
{
	char path[64], line[512];
	uint64_t from = 0, frame = 0, count = 0;

	snprintf(path, sizeof path, "/proc/%d/pagemap", pid);
	int pages = open(path, O_RDONLY);
	snprintf(path, sizeof path, "/proc/%d/maps", pid);
	FILE *maps = fopen(path, "r");
	check(pages >= 0 && maps, path);
	while (fgets(line, sizeof line, maps)) {
		uint64_t start, end, word;
		check(sscanf(line, "%lx-%lx", &start, &end) == 2, "maps");
		if (start >> 63)
			continue;
		for (uint64_t page = start / PAGE; page < end / PAGE; page++) {
			check(pread(pages, &word, 8, page * 8) == 8, "pagemap");
			if (!(word >> 63))
				continue;
			uint64_t at = word & ((1UL << 55) - 1);
			if (count && page == from + count && at == frame + count) {
				count++;
				continue;
			}
			if (count)
				fprintf(out, "M %lx %lx %lx\n", from, frame, count);
			from = page, frame = at, count = 1;
		}
	}
	if (count)
		fprintf(out, "M %lx %lx %lx\n", from, frame, count);
	fclose(maps);
	close(pages);
}

static void tell_file(const char *what, const char *path, const char *containing)
{
	char line[4096];
	FILE *file = fopen(path, "r");

	while (file && fgets(line, sizeof line, file)) {
		if (!strstr(line, containing))
			continue;
		line[strcspn(line, "\n")] = 0;
		fprintf(out, "I %s %s\n", what, line);
		break;
	}
	if (file)
		fclose(file);
}

/* What is on its way to sleep may touch another page yet. */
static void await_sleep(int pid)
{
	char path[64], state = 'R';

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	while (state == 'R') {
		FILE *file = fopen(path, "r");
		check(file && fscanf(file, "%*d (%*[^)]) %c", &state) == 1, "stat");
		fclose(file);
		sched_yield();
	}
}

static void tell_all(const int *pids)
{
	await_sleep(1);
	for (size_t kind = 0; kind < KINDS; kind++)
		await_sleep(pids[kind]);
	tell_file("kernel", "/proc/kallsyms", " _text");
	tell_file("meltdown", "/sys/devices/system/cpu/vulnerabilities/meltdown", "");
	tell_file("sizes", "/proc/cpuinfo", "address sizes");
	tell_file("huge", "/proc/meminfo", "AnonHugePages");
	fprintf(out, "P 1 init\n");
	tell_pages(1);
	for (size_t kind = 0; kind < KINDS; kind++) {
		fprintf(out, "P %d %s\n", pids[kind], kinds[kind].name);
		tell_pages(pids[kind]);
	}
	fprintf(out, "E\n");
	fflush(out);
}

int main(int argc, char **argv)
{
	int pids[KINDS];
	char token;

	mkdir("/proc", 0755), mkdir("/sys", 0755);
	mount("proc", "/proc", "proc", 0, 0);
	mount("sysfs", "/sys", "sysfs", 0, 0);
	out = fopen("/dev/ttyS1", "w");
	check(pipe(ready) == 0, "pipe");
	shared = map(0, MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
	for (size_t kind = 0; kind < KINDS; kind++) {
		pids[kind] = fork();
		check(pids[kind] >= 0, "fork");
		if (pids[kind] == 0) {
			kinds[kind].hold();
			sleep_for_ever();
		}
	}
	size_t ballast = argc > 1 ? strtoul(argv[1], 0, 10) * MIB : 0;
	if (ballast && fork() == 0) {
		char *at = anonymous(0, ballast);
		scatter(at, ballast / PAGE);
		/* Text: what fills real memory is neither zeros nor noise. */
		for (size_t page = 0; page < ballast / PAGE; page++)
			snprintf(at + page * PAGE + 64, PAGE - 64, "page %zu of a heap that holds objects with some words in them", page);
		sleep_for_ever();
	}
	for (size_t left = KINDS + (ballast > 0); left > 0; left--)
		check(read(ready[0], &token, 1) == 1, "a process is ready");
	/* The one that tells is not told about: its own memory changes under it. */
	if (fork() == 0) {
		tell_all(pids);
		for (;;)
			pause();
	}
	for (;;)
		pause();
}

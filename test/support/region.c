/*
 * Holds a region of memory that follows from a seed, and goes over it for ever: each page must be as the last pass left
 * it, and is written anew. What no other page, pass or process has is in every word, so that a page that is torn, stale,
 * lost or somebody else's is told from a right one.
 *
 *   region SEED MIB      then, in /tmp/region.state, over and over: PASS PAGE WRONG
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { page_bytes = 4096, page_words = page_bytes / 8 };

/* An avalanche: each bit of its argument changes half of the result. */
static uint64_t mixed(uint64_t word)
{
	word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
	word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
	return word ^ (word >> 31);
}

static uint64_t word_of(uint64_t seed, uint64_t pass, uint64_t index)
{
	return mixed(seed + mixed(pass + mixed(index)));
}

static int is_right(const uint64_t *page, uint64_t seed, uint64_t pass, uint64_t number)
{
	for (int word = 0; word < page_words; word++)
		if (page[word] != word_of(seed, pass, number * page_words + word))
			return 0;
	return 1;
}

static void write_page(uint64_t *page, uint64_t seed, uint64_t pass, uint64_t number)
{
	for (int word = 0; word < page_words; word++)
		page[word] = word_of(seed, pass, number * page_words + word);
}

static void tell(int file, uint64_t pass, uint64_t page, uint64_t wrong)
{
	char line[80];
	int length = snprintf(line, sizeof line, "%-20llu %-20llu %-20llu\n", (unsigned long long)pass,
		(unsigned long long)page, (unsigned long long)wrong);

	if (pwrite(file, line, (size_t)length, 0) != length)
		abort();
}

int main(int count, char **arguments)
{
	uint64_t seed = count > 1 ? strtoull(arguments[1], NULL, 10) : 1;
	uint64_t pages = (count > 2 ? strtoull(arguments[2], NULL, 10) : 1) * 256, wrong = 0;
	uint64_t *region = mmap(NULL, pages * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int file = open("/tmp/region.state", O_RDWR | O_CREAT | O_TRUNC, 0644);

	if (region == MAP_FAILED || file < 0)
		return 1;
	for (uint64_t page = 0; page < pages; page++)
		write_page(region + page * page_words, seed, 0, page);
	for (uint64_t pass = 0;; pass++)
		for (uint64_t step = 0; step < pages; step++) {
			/* Not in order: nobody can have guessed the next page. */
			uint64_t page = (step * 7919 + seed) % pages;
			uint64_t *at = region + page * page_words;

			wrong += !is_right(at, seed, pass, page);
			write_page(at, seed, pass + 1, page);
			tell(file, pass, step, wrong);
			/* As long as a page or two take: the region lasts for a while, and leaves time for others. */
			usleep(500);
		}
}

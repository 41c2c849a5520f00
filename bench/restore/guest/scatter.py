"""Leaves a guest's free memory in single pages: scatter.py PAGES SEED.

Takes so many pages, fills them with text, and gives every second one back, in random order. Whoever asks for memory next gets
these pages, one here and one there, and what is adjacent for it lies nowhere near in the guest's physical memory. The
other half it keeps, until its input ends.
"""

import mmap
import random
import sys

PAGE = 4096


def main():
    pages, seed = (int(word) for word in sys.argv[1:3])
    rng = random.Random(seed)
    words = [format(rng.getrandbits(28), "x") for _ in range(4000)]
    source = " ".join(rng.choices(words, k=400_000)).encode()
    # Of a shared mapping nothing would be given back.
    memory = mmap.mmap(-1, pages * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(pages):
        start = rng.randrange(len(source) - PAGE)
        memory[page * PAGE : (page + 1) * PAGE] = source[start : start + PAGE]
    freed = list(range(0, pages, 2))
    rng.shuffle(freed)
    for page in freed:
        memory.madvise(mmap.MADV_DONTNEED, page * PAGE, PAGE)
    print("scattered", len(freed), flush=True)
    sys.stdin.read()


main()

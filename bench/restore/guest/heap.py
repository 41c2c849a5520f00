"""A process whose memory is full of text, as the measured one of `ramet bench restore`.

heap.py HEAP_BYTES FIELD_PAGES SEED builds records in the fashion of parsed documents until their objects take HEAP_BYTES,
and a field of pages of text beside them, the same for the same seed. It then tells `ready` and does what its input says:

walk            reads every record, in the order of the list
touch N GAP_US  touches N pages of the field, each for the first time and far from all others, at random; GAP_US between the end
                of one and the next; tells how many it had to wait for, and of these waits the quantiles

Each answer is one line of words: what it is, and figures.
"""

import gc
import mmap
import random
import sys
import time
import zlib

PAGE = 4096
# Whoever finds a page in its place is back sooner, even under emulation.
WAIT_NS = 20_000
# Pages closer to each other than that lie in one block of a checkpoint: what brings one may bring the other.
APART = 32
SYLLABLES = "ba co di fe gu ha jo ki lu ma ne po ra si to vu wen zar ter lin mon dal pre con sta ing er est al or".split()


def vocabulary(rng):
    """Words with the frequencies of a language: the n-th is used 1/n as often as the first."""
    words = sorted({"".join(rng.choices(SYLLABLES, k=rng.choice((1, 2, 2, 3, 3, 4)))) for _ in range(12000)})
    rng.shuffle(words)
    urn = []
    for rank, word in enumerate(words, 1):
        urn.extend([word] * (1 + 12000 // rank))
    return urn


def text(rng, urn, count):
    return " ".join(rng.choices(urn, k=count))


def sentences(rng, urn, count):
    return " ".join(text(rng, urn, rng.randint(4, 18)).capitalize() + "." for _ in range(count))


def record(rng, urn, number):
    return {
        "number": number,
        "title": text(rng, urn, rng.randint(2, 7)),
        "author": f"{rng.choice(urn)}@{rng.choice(urn)}.example",
        "score": rng.random(),
        "tags": [rng.choice(urn) + str(number % 97) for _ in range(rng.randint(1, 5))],
        "body": sentences(rng, urn, min(40, int(rng.expovariate(1 / 9)) + 1)),
    }


def bytes_of(entry):
    parts = [entry, *entry.values(), *entry["tags"]]
    return sum(sys.getsizeof(part) for part in parts)


def build(rng, urn, heap_bytes):
    records, size = [], 0
    while size < heap_bytes:
        records.append(record(rng, urn, len(records)))
        size += bytes_of(records[-1])
    return records, size


def fill_field(rng, urn, pages):
    """Pages of text out of a larger text, each from a place of its own."""
    source = text(rng, urn, 400_000).encode()
    field = mmap.mmap(-1, pages * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(pages):
        start = rng.randrange(len(source) - PAGE)
        field[page * PAGE : (page + 1) * PAGE] = source[start : start + PAGE]
    order = list(range(APART // 2, pages, APART))
    rng.shuffle(order)
    return field, order


def walk(records):
    """Every object is read, the long ones to their last byte."""
    checksum = 0
    for entry in records:
        head = f"{entry['number']} {entry['title']} {entry['author']} {entry['score']} {','.join(entry['tags'])}"
        checksum = zlib.crc32(entry["body"].encode(), zlib.crc32(head.encode(), checksum))
    return checksum


def touch(field, order, count, gap_us):
    clock = time.perf_counter_ns
    waits = []
    for _ in range(min(count, len(order))):
        at = order.pop() * PAGE
        began = clock()
        field[at]
        ended = clock()
        if ended - began > WAIT_NS:
            waits.append(ended - began)
        if gap_us:
            until = ended + gap_us * 1000
            while clock() < until:
                pass
    return sorted(waits)


def quantile(waits, part):
    return waits[min(len(waits) - 1, len(waits) * part // 100)] if waits else 0


def main():
    heap_bytes, field_pages, seed = (int(word) for word in sys.argv[1:4])
    rng = random.Random(seed)
    gc.disable()
    urn = vocabulary(rng)
    records, size = build(rng, urn, heap_bytes)
    field, order = fill_field(rng, urn, field_pages)
    gc.enable()
    print("ready", len(records), size, walk(records), flush=True)
    for line in sys.stdin:
        what, *figures = line.split()
        began = time.perf_counter()
        if what == "walk":
            answer = [walk(records)]
        else:
            waits = touch(field, order, *(int(figure) for figure in figures))
            answer = [len(waits), *(quantile(waits, part) for part in (50, 90, 99))]
        print(what, *answer, round((time.perf_counter() - began) * 1000), flush=True)


main()

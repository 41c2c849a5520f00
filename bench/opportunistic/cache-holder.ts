/**
 * A process that holds a cache, for `vm-start.ts`. Commands are lines on its input, each answered by a line:
 * `fill` puts every block, `count` reads every block, `give N` gives N bytes back.
 *
 * cache-holder.ts none|kernel|lru BYTES
 */
import { createInterface } from 'node:readline'
import { memoryCalls } from '../../src/host/anonymous-memory.ts'
import { ArenaCache } from '../../src/opportunistic/arena-cache.ts'
import { KernelArena } from '../../src/opportunistic/kernel-arena.ts'
import { LruCache } from '../../src/opportunistic/lru-cache.ts'

const blockBytes = 128 * 1024
const [, , kind, size = '0'] = process.argv
const blockCount = Math.floor(Number(size) / blockBytes)
const into = Buffer.alloc(blockBytes)
const block = Buffer.alloc(blockBytes, 0x5a)

function open() {
  if (kind === 'kernel')
    return new ArenaCache(new KernelArena(memoryCalls, { slotCount: blockCount, slotBytes: blockBytes }))
  return kind === 'lru' ? new LruCache({ capacityBytes: blockCount * blockBytes, blockBytes }) : undefined
}

let cache = open()

function fill(): number {
  // What has given its memory back begins anew.
  if (cache instanceof LruCache) {
    cache.close()
    cache = open()
  }
  for (let key = 0; key < blockCount; key += 1) cache?.put(key, block)
  if (cache instanceof ArenaCache) cache.settle()
  return cache?.figures().heldBytes ?? 0
}

function count(): number {
  let bytes = 0
  for (let key = 0; key < blockCount; key += 1) bytes += cache?.read(key, into) ?? 0
  return bytes
}

for await (const line of createInterface({ input: process.stdin })) {
  const [command, amount = '0'] = line.split(' ')
  let answer = 0
  if (command === 'fill') answer = fill()
  else if (command === 'count') answer = count()
  else if (command === 'give') answer = cache?.giveBack(Number(amount)) ?? 0
  process.stdout.write(`${answer}\n`)
}

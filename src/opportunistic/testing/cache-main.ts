/** Opens a cache in a process of its own, as `stress-main.ts` does, fills all of it, and tells what came of it. */
import { once } from 'node:events'
import { openCache } from '../open-cache.ts'

const [, , options = ''] = process.argv
await once(process.stdin, 'data')
process.stdin.destroy()
const { capacityBytes, blockBytes } = JSON.parse(options) as { capacityBytes: number; blockBytes: number }
const warnings: string[] = []
const nothing = () => {}
const log = { debug: nothing, info: nothing, error: nothing, warn: (_: object, text: string) => warnings.push(text) }
const cache = await openCache({ capacityBytes, blockBytes, log })
const block = Buffer.alloc(blockBytes, 1)
for (let key = 0; key < capacityBytes / blockBytes; key += 1) cache.put(key, block)
const { capacityBytes: roomBytes } = cache.figures()
process.stdout.write(JSON.stringify({ kind: cache.kind, roomBytes, warnings }))

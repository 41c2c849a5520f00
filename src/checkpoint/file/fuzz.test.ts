import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { before, test } from 'node:test'
import { isRametError } from '../../shared/errors.ts'
import { headerBytes, sectionKinds } from './layout.ts'
import { readEverything } from './testing/read-everything.ts'
import { reseal, sectionAt } from './testing/reseal.ts'
import { bufferSource, randomOf, type SampleGuest, sampleGuest, withDirectory } from './testing/sample.ts'
import { writeCheckpoint } from './write.ts'

// Each case follows from its number alone: RAMET_FUZZ_SEED=N replays case N, RAMET_FUZZ_CASES=N runs more of them.
const caseCount = Number(process.env.RAMET_FUZZ_CASES ?? 3000)
const only = process.env.RAMET_FUZZ_SEED

/** Bytes besides the heap that no case may take; the file has some 50 KiB, of a guest of 160 KiB. */
const allocationBytes = 64 * 1024 * 1024

type Random = (below: number) => number

let guest: SampleGuest
let file: Buffer

before(() =>
  withDirectory(async (directory) => {
    guest = sampleGuest({ pageCount: 40, seed: 3 })
    const path = join(directory, 'a')
    await writeCheckpoint(path, guest.parts, { workerCount: 1, blockPages: 4 })
    file = await readFile(path)
  }),
)

/** Numbers at which programs go wrong. */
const edges = [
  0n,
  1n,
  2n,
  0x7fn,
  0xffn,
  0xffffn,
  0x7fffffffn,
  0xffffffffn,
  2n ** 40n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
]

const mutations: ((bytes: Buffer, random: Random) => Buffer)[] = [
  (bytes, random) => {
    const at = random(bytes.length)
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8))
    return bytes
  },
  (bytes, random) => {
    bytes[random(bytes.length)] = random(256)
    return bytes
  },
  // A number in the header, where lengths and offsets are.
  (bytes, random) => {
    bytes.writeBigUInt64LE(edges[random(edges.length)] ?? 0n, 8 + 8 * random((headerBytes - 48) / 8))
    return bytes
  },
  (bytes, random) => {
    const at = 8 + 4 * random((headerBytes - 48) / 4)
    bytes.writeUInt32LE((bytes.readUInt32LE(at) + random(9) - 4) >>> 0, at)
    return bytes
  },
  // Something in a section, the index for example.
  (bytes, random) => {
    const entry = sectionAt(sectionKinds[random(sectionKinds.length)] ?? 'order')
    const start = Number(bytes.readBigUInt64LE(entry + 8))
    const length = Number(bytes.readBigUInt64LE(entry + 16))
    const at = start + random(Math.max(1, length))
    if (at < bytes.length) bytes[at] = random(256)
    return bytes
  },
  (bytes, random) => bytes.subarray(0, random(bytes.length + 1)),
  (bytes, random) => Buffer.concat([bytes, Buffer.alloc(1 + random(100), random(256))]),
  // A stretch copied over another, of zeros, or taken out.
  (bytes, random) => {
    const length = random(500)
    bytes.copyWithin(random(bytes.length), random(bytes.length), random(bytes.length) + length)
    return bytes
  },
  (bytes, random) => {
    const at = random(bytes.length)
    return bytes.fill(0, at, Math.min(bytes.length, at + random(500)))
  },
  (bytes, random) => {
    const at = random(bytes.length)
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random(64))])
  },
]

interface FuzzCase {
  readonly bytes: Buffer
  /** whether the checksums were put right again after the damage */
  readonly isResealed: boolean
}

function caseOf(seed: number): FuzzCase {
  const random = randomOf(seed)
  // Some kinds of damage are switched off in each case, so that others get the chance to go deep.
  const chosen = mutations.filter(() => random(3) > 0)
  let bytes = Buffer.from(file)
  for (let count = 1 + random(3); count > 0; count -= 1) {
    const mutate = chosen[random(Math.max(1, chosen.length))]
    if (mutate !== undefined && bytes.length > headerBytes * 2) bytes = Buffer.from(mutate(bytes, random))
  }
  const isResealed = random(2) === 0 && bytes.length > headerBytes
  return { bytes: isResealed ? reseal(bytes) : bytes, isResealed }
}

/** @returns whether the case was refused */
async function runCase(seed: number): Promise<boolean> {
  const { bytes, isResealed } = caseOf(seed)
  try {
    // Whoever puts checksums right can also change memory: then only the way it is refused counts.
    await readEverything(bufferSource(bytes), isResealed ? undefined : guest.memory)
    assert.ok(isResealed || bytes.equals(file), `case ${seed}: damage was not noticed`)
    return false
  } catch (error) {
    const isExpected = isRametError(error, 'CHECKPOINT_DAMAGED') || isRametError(error, 'CHECKPOINT_UNFIT')
    assert.ok(isExpected, `case ${seed} ends in ${error instanceof Error ? error.stack : String(error)}`)
    return true
  }
}

test(`${caseCount} damaged files are refused without harm`, async () => {
  const seeds = only === undefined ? Array.from({ length: caseCount }, (_, index) => index + 1) : [Number(only)]
  let refused = 0
  for (const seed of seeds) {
    const before = process.memoryUsage().arrayBuffers
    if (await runCase(seed)) refused += 1
    const grown = process.memoryUsage().arrayBuffers - before
    assert.ok(grown < allocationBytes, `case ${seed} took ${grown} bytes`)
  }
  if (only === undefined) assert.ok(refused > seeds.length / 2, `only ${refused} were refused`)
})

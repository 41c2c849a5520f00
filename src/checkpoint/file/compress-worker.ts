/** A thread of `compressors.ts`. */
import { parentPort, workerData } from 'node:worker_threads'
import { encodeBlock } from './block.ts'
import { type CompressedJob, type CompressJob, digestOf, inputOf, outputOf, type SlotMemory } from './compress-job.ts'
import { blockDigest } from './layout.ts'

const memory: SlotMemory = workerData

parentPort?.on('message', ({ slot, rawBytes }: CompressJob) => {
  const raw = inputOf(memory, slot).subarray(0, rawBytes)
  const stored = encodeBlock(raw)
  if (stored.length < rawBytes) stored.copy(outputOf(memory, slot))
  blockDigest(stored).copy(digestOf(memory, slot))
  const answer: CompressedJob = { slot, storedBytes: stored.length }
  parentPort?.postMessage(answer)
})

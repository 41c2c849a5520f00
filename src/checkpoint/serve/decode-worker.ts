/** A thread of `decode-pool.ts`. */
import { readSync } from 'node:fs'
import { parentPort } from 'node:worker_threads'
import { asRametError } from '../../shared/errors.ts'
import { decodeBlock } from '../file/block.ts'
import type { DecodeAnswer, DecodeJob } from './decode-job.ts'

parentPort?.on('message', (job: DecodeJob) => {
  const answer = run(job)
  parentPort?.postMessage(answer, 'raw' in answer ? [answer.raw.buffer as ArrayBuffer] : [])
})

function run(job: DecodeJob): DecodeAnswer {
  const { id, block, file, rawBytes } = job
  try {
    const stored = bytesOf(job)
    return { id, raw: owned(decodeBlock(stored, rawBytes, Buffer.from(job.digest), block, file)) }
  } catch (error) {
    const { code, message, remediation } = asRametError(error)
    return { id, error: { code, message, remediation } }
  }
}

/** Used again for each block: memory of a new one would have to be faulted in, and collected. */
let scratch = Buffer.alloc(0)

function bytesOf({ stored }: DecodeJob): Buffer {
  if (stored instanceof Uint8Array) return Buffer.from(stored.buffer, stored.byteOffset, stored.length)
  if (scratch.length < stored.lengthBytes) scratch = Buffer.allocUnsafeSlow(2 * stored.lengthBytes)
  const bytes = scratch.subarray(0, stored.lengthBytes)
  let done = 0
  while (done < bytes.length) {
    const count = readSync(stored.fd, bytes, done, bytes.length - done, stored.offsetBytes + done)
    if (count === 0) break
    done += count
  }
  return bytes.subarray(0, done)
}

/** In memory of its own, which can be handed to another thread. */
function owned(bytes: Buffer): Uint8Array {
  const isWhole = bytes.byteOffset === 0 && bytes.buffer.byteLength === bytes.length
  if (isWhole && bytes.buffer !== scratch.buffer) return bytes
  return new Uint8Array(bytes)
}

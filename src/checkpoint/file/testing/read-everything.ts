import assert from 'node:assert/strict'
import { pageBytes } from '../../../memory/base.ts'
import type { RangeSource } from '../range-source.ts'
import { Checkpoint } from '../read.ts'

/**
 * Reads every part of a checkpoint, as a restore does.
 *
 * @param memory what pages must hold, where it is known: altered bytes must never be handed out
 * @throws what the first part throws that cannot be read
 */
export async function readEverything(source: RangeSource, memory?: Buffer): Promise<void> {
  const checkpoint = await Checkpoint.open(source)
  const { pages } = checkpoint
  let failure: unknown
  const attempt = async (work: () => Promise<void>) => {
    await work().catch((error: unknown) => {
      if (error instanceof assert.AssertionError) throw error
      failure ??= error
    })
  }
  for (let block = 0; block < pages.blockCount; block += 1) {
    await attempt(async () => {
      const bytes = await checkpoint.readBlock(block)
      for (const [slot, page] of pages.pagesOf(block).entries()) {
        const handed = bytes.subarray(slot * pageBytes, (slot + 1) * pageBytes)
        const expected = memory?.subarray(page * pageBytes, (page + 1) * pageBytes) ?? handed
        assert.ok(handed.equals(expected), `page ${page} is what it was`)
      }
    })
  }
  await attempt(async () => void (await checkpoint.readDeviceState()))
  await attempt(async () => void (await checkpoint.readRoms()))
  await attempt(async () => void (await checkpoint.readLocality()))
  if (failure !== undefined) throw failure
}

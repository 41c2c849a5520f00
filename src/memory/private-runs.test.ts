import assert from 'node:assert/strict'
import process from 'node:process'
import { test } from 'node:test'
import { addressOf } from '../host/libc.ts'
import { readPrivateWords } from '../host/pagemap.ts'
import { limits } from '../shared/limits.ts'
import { pageBytes } from './base.ts'
import { listPrivateRuns, totalBytes } from './private-runs.ts'

test('runs are the same however often the listing gives way', async () => {
  const sizeBytes = 2 * limits.memoryListBytes + 5 * pageBytes
  const buffer = Buffer.allocUnsafeSlow(sizeBytes + pageBytes)
  const start = Math.ceil(addressOf(buffer) / pageBytes) * pageBytes
  const from = start - addressOf(buffer)
  const seam = limits.memoryListBytes / pageBytes
  for (const page of [0, 1, 2, seam - 2, seam - 1, seam, seam + 1, 2 * seam, 2 * seam + 4])
    buffer[from + page * pageBytes] = 1
  const runs = await listPrivateRuns({ pid: process.pid, start, sizeBytes, baseId: undefined })
  const expected = readPrivateWords(process.pid, start, start + sizeBytes)
  assert.deepEqual(
    runs,
    expected.map(({ page, count }) => ({ offsetBytes: page * pageBytes, lengthBytes: count * pageBytes })),
  )
  assert.ok(
    runs.some((run) => run.offsetBytes < seam * pageBytes && run.offsetBytes + run.lengthBytes > seam * pageBytes),
  )
  assert.ok(totalBytes(runs) >= 9 * pageBytes)
  assert.ok(buffer.length > 0, 'the memory is kept until here')
})

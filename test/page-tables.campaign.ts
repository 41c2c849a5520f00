// How long the page tables of a guest take to find, when most of its memory is one scattered heap: prints, demands nothing.
import assert from 'node:assert/strict'
import { closeSync, writeSync } from 'node:fs'
import process from 'node:process'
import { describe, it } from 'node:test'
import { createMemfd } from '../src/host/memfd.ts'
import { discoverPageTables } from '../src/memory/page-tables/discover.ts'
import { localityOrder } from '../src/memory/page-tables/locality.ts'
import { imageOfFile } from '../src/memory/page-tables/memory-image.ts'
import { q35Layout } from '../src/memory/page-tables/physical-layout.ts'
import { scanForRoots } from '../src/memory/page-tables/root-scan.ts'
import { SyntheticGuest } from '../src/memory/page-tables/testing/synthetic-guest.ts'
import { prepareKernels, runSilentGuest } from './support/silent-guest.ts'

const MiB = 1024 * 1024
const rounds = 9

interface Times {
  /** reading the image, looking at each page */
  scan: number[]
  /** all of the search, the scan included */
  total: number[]
  /** the same in processor time, which does not depend on what else the machine does */
  totalCpu: number[]
  /** one order of all resident pages */
  order: number[]
}

const quantile = (values: number[], part: number) =>
  [...values].sort((one, other) => one - other)[Math.floor(part * (values.length - 1))] ?? 0
const text = (times: Times) =>
  Object.entries(times)
    .map(([name, values]) => `${name} ${[0, 0.5, 1].map((part) => quantile(values, part).toFixed(0)).join(' / ')} ms`)
    .join(', ')

describe('time to find page tables (minimum / median / maximum)', { timeout: 600_000 }, () => {
  for (const [sizeMiB, heapMiB] of [
    [256, 130],
    [1024, 850],
  ] as const) {
    it(`a guest of ${sizeMiB} MiB`, async (context) => {
      await using kernels = await prepareKernels('test/support/page-holder.c')
      const sizeBytes = sizeMiB * MiB + 8192
      await using guest = await runSilentGuest({
        ...{ kernel: kernels.packed, initrd: kernels.initrd, sizeBytes, cpu: 'max' },
        append: `-- ${heapMiB}`,
      })
      const layout = q35Layout(sizeBytes)
      const times: Times = { scan: [], total: [], totalCpu: [], order: [] }
      for (let round = 0; round < rounds; round += 1) {
        const image = imageOfFile(guest.memoryFd, sizeBytes)
        const start = performance.now()
        await scanForRoots(image, layout)
        const cpu = process.cpuUsage()
        const scanned = performance.now()
        const { tables, resident } = await discoverPageTables(image, layout)
        const found = performance.now()
        const spent = process.cpuUsage(cpu)
        const order = localityOrder(tables?.map, resident)
        times.scan.push(scanned - start)
        times.total.push(found - scanned)
        times.totalCpu.push((spent.user + spent.system) / 1000)
        times.order.push(performance.now() - found)
        assert.ok(tables !== undefined && order.length > heapMiB * 256)
        if (round > 0) continue
        const { map, spaces } = tables
        context.diagnostic(
          `${spaces.length} address spaces, ${map.length} mappings in ${(map.sizeBytes / MiB).toFixed(1)} MiB, ` +
            `${resident.size} resident pages of ${layout.pageCount}; first search ${(found - scanned).toFixed(0)} ms`,
        )
      }
      context.diagnostic(text(times))
    })
  }

  it('a hostile guest of 1 GiB: tables that lead everywhere', async (context) => {
    const layout = q35Layout(1024 * MiB)
    const guest = new SyntheticGuest({ seed: 1, levels: 4, layout: { pageCount: 8192, lowPageCount: 8192 } })
    const sizeBytes = layout.pageCount * 4096
    const table = new Uint32Array(1024)
    // The kernel's half of a small guest, its user's half and all other pages pointing at random.
    const read = (bytes: Uint8Array, offsetBytes: number) => {
      for (let at = 0; at < bytes.length; at += 4096) {
        const page = (offsetBytes + at) / 4096
        if (page < 8192 && page % 64 !== 0) bytes.set(guest.bytes.subarray(page * 4096, (page + 1) * 4096), at)
        else {
          for (let index = 0; index < 512; index += 1) {
            table[index * 2] = (guest.below(layout.pageCount) * 4096) | 0x67
          }
          bytes.set(new Uint8Array(table.buffer), at)
        }
      }
    }
    const fd = createMemfd('ramet-test-hostile', sizeBytes)
    try {
      const chunk = Buffer.alloc(4 * MiB)
      for (let at = 0; at < sizeBytes; at += chunk.length) {
        read(chunk, at)
        writeSync(fd, chunk, 0, chunk.length, at)
      }
      const start = performance.now()
      const cpu = process.cpuUsage()
      const found = await discoverPageTables(imageOfFile(fd, sizeBytes), layout)
      const spent = process.cpuUsage(cpu)
      const cpuMs = (spent.user + spent.system) / 1000
      const what = found.reason ?? 'tables were found'
      context.diagnostic(
        `${(performance.now() - start).toFixed(0)} ms, ${cpuMs.toFixed(0)} of them processor time; ${what}`,
      )
    } finally {
      closeSync(fd)
    }
  })
})

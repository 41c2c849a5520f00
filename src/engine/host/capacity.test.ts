import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { MemoryInfo } from '../../host/meminfo.ts'
import { bootNeed, capacityOf, fits, partToGiveBack, refusal, reserveOf } from './capacity.ts'

const MiB = 1024 * 1024
const GiB = 1024 * MiB

const memory = (changes: Partial<MemoryInfo> = {}): MemoryInfo => ({
  ...{ totalBytes: 24 * GiB, availableBytes: 2 * GiB, freeBytes: 1 * GiB, sharedBytes: 0, swapFreeBytes: 0 },
  ...changes,
})

test('what may be started in is available memory less the reserve and less what is promised', () => {
  const capacity = capacityOf(memory(), { reserveBytes: 512 * MiB, promisedBytes: 256 * MiB })
  assert.equal(capacity.startableBytes, 1280 * MiB)
  const need = { what: 'starting web', guestBytes: 1120 * MiB, vmmBytes: 160 * MiB }
  assert.equal(fits(need, capacity), true)
  assert.equal(fits({ ...need, guestBytes: need.guestBytes + 1 }, capacity), false)
  assert.equal(capacityOf(memory(), { reserveBytes: 30 * GiB, promisedBytes: 0 }).startableBytes, 0)
})

test('a refusal says what is needed, what there is, and what helps', () => {
  const capacity = capacityOf(memory(), { reserveBytes: 1536 * MiB, promisedBytes: 256 * MiB })
  const error = refusal({ what: 'starting web', guestBytes: 200 * MiB, vmmBytes: 160 * MiB }, capacity)
  assert.equal(error.code, 'NO_CAPACITY')
  assert.equal(
    error.message,
    'starting web needs 360 MiB (200 MiB of guest memory, 160 MiB of QEMU); of 2 GiB available 1.5 GiB stay free and 256 MiB are promised to starts under way, which leaves 256 MiB',
  )
  assert.match(error.remediation, /ramet pause --to-disk VM.*ramet stats.*memory_reserve_mib/)
  assert.deepEqual([error.details.neededBytes, error.details.startableBytes], [360 * MiB, 256 * MiB])
})

test('the reserve is what the settings say, or a fiftieth of the host, and never next to nothing by itself', () => {
  assert.equal(reserveOf(24 * GiB, undefined), Math.floor(24 * GiB * 0.02))
  assert.equal(reserveOf(1 * GiB, undefined), 256 * MiB)
  assert.equal(reserveOf(24 * GiB, 0), 0)
  assert.equal(reserveOf(24 * GiB, 23 * GiB), 23 * GiB)
})

test('a boot needs what its kernel touches, not all that it was given', () => {
  assert.equal(bootNeed(128 * MiB), 128 * MiB)
  assert.equal(bootNeed(256 * MiB), 200 * MiB)
  assert.equal(bootNeed(4 * GiB), 320 * MiB)
})

test('a cache gives back its part of what is lacking, never more than it has', () => {
  const part = (changes: Partial<MemoryInfo>, wantedBytes: number, lazyBytes: number) =>
    partToGiveBack(memory(changes), wantedBytes, lazyBytes) / MiB
  assert.equal(part({ freeBytes: 1 * GiB }, 1 * GiB, 500 * MiB), 0, 'nothing is lacking')
  assert.equal(part({ freeBytes: 924 * MiB }, 1 * GiB, 0), 0, 'nothing is held')
  const full = { freeBytes: 924 * MiB, availableBytes: 1924 * MiB }
  assert.equal(part(full, 1024 * MiB, 1000 * MiB), 100, 'all that can be dropped is the cache’s')
  assert.equal(part(full, 1024 * MiB, 100 * MiB), 10, 'a tenth of it is')
  assert.equal(part(full, 4096 * MiB, 100 * MiB), 100)
  assert.equal(
    part({ freeBytes: 900 * MiB, availableBytes: 910 * MiB }, 1000 * MiB, 50 * MiB),
    50,
    'available lags behind',
  )
})

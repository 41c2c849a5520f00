import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { keptByProcessors, parseMeminfo, readMemoryInfo, withinRoom } from './meminfo.ts'
import { ownMemoryRoom } from './memory-room.ts'

const MiB = 1024 * 1024

function hierarchy(t: TestContext, files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'ramet-room-'))
  t.after(() => rmSync(root, { recursive: true }))
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, path, '..'), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  return root
}

test('version 2: the group above with the least room, with what it can drop', (t) => {
  const root = hierarchy(t, {
    'a/memory.max': `${512 * MiB}\n`,
    'a/memory.current': `${400 * MiB}\n`,
    'a/memory.stat': `anon 1\ninactive_anon 7\ninactive_file ${100 * MiB}\nactive_file ${50 * MiB}\n`,
    'a/b/memory.max': `${900 * MiB}\n`,
    'a/b/memory.current': `${10 * MiB}\n`,
    'a/b/memory.stat': 'inactive_file 0\nactive_file 0\n',
    'a/b/c/memory.max': 'max\n',
  })
  const mounts = `cgroup2 ${root} cgroup2 rw 0 0\n`
  const room = ownMemoryRoom({ mounts, ownGroups: '0::/a/b/c\n' })
  assert.deepEqual(room, { limitBytes: 512 * MiB, freeBytes: 112 * MiB, availableBytes: 262 * MiB })
  assert.equal(ownMemoryRoom({ mounts, ownGroups: '0::/\n' }), undefined)
})

test('version 1: its own statistics count what is below it too', (t) => {
  const root = hierarchy(t, {
    'memory.limit_in_bytes': '9223372036854771712\n',
    'vm/memory.limit_in_bytes': `${800 * MiB}\n`,
    'vm/memory.usage_in_bytes': `${800 * MiB}\n`,
    'vm/memory.stat': `inactive_file 1\ntotal_inactive_file ${197 * MiB}\ntotal_active_file 0\n`,
  })
  const mounts = `cgroup ${root} cgroup rw,memory 0 0\ncgroup /nowhere cgroup rw,cpu 0 0\n`
  const room = ownMemoryRoom({ mounts, ownGroups: '3:cpu:/\n4:memory:/vm\n' })
  assert.deepEqual(room, { limitBytes: 800 * MiB, freeBytes: 0, availableBytes: 197 * MiB })
})

test('a group that is smaller than the host is all there is', () => {
  const host = parseMeminfo('MemTotal: 8388608 kB\nMemFree: 2097152 kB\nMemAvailable: 4194304 kB\n', 64 * MiB)
  assert.deepEqual([host.freeBytes, host.availableBytes], [2112 * MiB, 4160 * MiB])
  const room = { limitBytes: 1024 * MiB, freeBytes: 0, availableBytes: 200 * MiB }
  const { totalBytes, freeBytes, availableBytes } = withinRoom(host, room)
  assert.deepEqual([totalBytes, freeBytes, availableBytes], [1024 * MiB, 0, 200 * MiB])
  assert.equal(withinRoom(host, undefined), host)
})

test('pages that processors keep aside are free', () => {
  const zone = (counts: number[]) =>
    `Node 0, zone Normal\n  pages free 5\n  pagesets\n${counts.map((count, cpu) => `    cpu: ${cpu}\n              count:    ${count}\n              high:     9\n              batch: 3\n`).join('')}`
  assert.equal(keptByProcessors(zone([3, 4]) + zone([0, 1])), 8 * 4096)
  assert.equal(keptByProcessors(''), 0)
})

test('this host can be asked', () => {
  const { totalBytes, availableBytes, freeBytes } = readMemoryInfo()
  assert.ok(totalBytes > availableBytes && availableBytes > 0 && freeBytes > 0)
})

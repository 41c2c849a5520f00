import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { ownMemoryLimitBytes } from './memory-limit.ts'

const MiB = 1024 * 1024

function hierarchy(t: TestContext, files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'ramet-limit-'))
  t.after(() => rmSync(root, { recursive: true }))
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, path, '..'), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  return root
}

test('version 2: the smallest limit of the group and those above it', (t) => {
  const root = hierarchy(t, {
    'memory.max': 'max\n',
    'a/memory.max': `${64 * MiB}\n`,
    'a/b/memory.max': `${256 * MiB}\n`,
    'a/b/c/memory.max': 'max\n',
  })
  const mounts = `cgroup2 ${root} cgroup2 rw 0 0\n`
  assert.equal(ownMemoryLimitBytes({ mounts, ownGroups: '0::/a/b/c\n' }), 64 * MiB)
  assert.equal(ownMemoryLimitBytes({ mounts, ownGroups: '0::/\n' }), undefined)
})

test('version 1: the limit that its hierarchy comes to, also when only the mount is seen', (t) => {
  const root = hierarchy(t, {
    'memory.stat': 'cache 0\nhierarchical_memory_limit 9223372036854771712\n',
    'vm/memory.stat': `cache 0\nhierarchical_memory_limit ${96 * MiB}\n`,
  })
  const mounts = `cgroup ${root} cgroup rw,memory 0 0\ncgroup /nowhere cgroup rw,cpu 0 0\n`
  assert.equal(ownMemoryLimitBytes({ mounts, ownGroups: '3:cpu:/\n4:memory:/vm\n' }), 96 * MiB)
  assert.equal(ownMemoryLimitBytes({ mounts, ownGroups: '4:memory:/elsewhere\n' }), undefined)
})

test('no control groups, no limit; this host can be asked', () => {
  assert.equal(ownMemoryLimitBytes({ mounts: '', ownGroups: '' }), undefined)
  const limit = ownMemoryLimitBytes()
  assert.ok(limit === undefined || limit > MiB)
})

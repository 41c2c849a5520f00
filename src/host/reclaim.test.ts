import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { type TestContext, test } from 'node:test'
import { reclaimMemory } from './reclaim.ts'

function nodes(t: TestContext, names: readonly string[]): string {
  const root = mkdtempSync(join(tmpdir(), 'ramet-nodes-'))
  t.after(() => rmSync(root, { recursive: true }))
  for (const name of names) {
    mkdirSync(join(root, name))
    writeFileSync(join(root, name, 'reclaim'), '')
  }
  return root
}

test('each node gives its part, and nothing is swapped out for it', async (t) => {
  const root = nodes(t, ['node0', 'node1', 'power'])
  assert.equal(await reclaimMemory(8192, root, false), true)
  const wrote = (name: string) => readFileSync(join(root, name, 'reclaim'), 'utf8')
  assert.deepEqual(['node0', 'node1', 'power'].map(wrote), ['4096 swappiness=0', '4096 swappiness=0', ''])
})

test('this kernel takes such a wish, if it knows it and this process may', async (t) => {
  const file = '/sys/devices/system/node/node0/reclaim'
  const isOffered = existsSync(file) && process.getuid?.() === 0
  if (!isOffered) t.diagnostic('not offered here: only that it is no error is shown')
  assert.equal(await reclaimMemory(1024 * 1024, '/sys/devices/system/node', false), isOffered)
})

test('a kernel without it, or without nodes, and a control group with a limit are no error', async (t) => {
  const root = nodes(t, ['node0'])
  assert.equal(await reclaimMemory(4096, root, true), false)
  rmSync(join(root, 'node0', 'reclaim'))
  assert.equal(await reclaimMemory(4096, root, false), false)
  rmSync(join(root, 'node0'), { recursive: true })
  assert.equal(await reclaimMemory(4096, root, false), false)
  assert.equal(await reclaimMemory(4096, join(root, 'nowhere'), false), false)
})

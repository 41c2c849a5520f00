import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TreeNode, VmInfo } from '../client/index.ts'
import { doctorText } from './commands/doctor.ts'
import { eventText } from './commands/events.ts'
import { formatAge, formatDuration, harmless } from './format.ts'
import { editDistance, nearest } from './suggest.ts'
import { textTable } from './text-table.ts'
import { treeLines } from './tree-lines.ts'
import { vmColumnsFor } from './vm-view.ts'

test('a table is as wide as it needs to be', () => {
  const text = textTable(
    ['NAME', 'STATE'],
    [
      ['web', 'running'],
      ['größer', ''],
    ],
  )
  assert.equal(text, 'NAME    STATE\nweb     running\ngrößer')
})

test('the lineage is drawn', () => {
  const node = (id: string, parentId?: string, more: Partial<TreeNode> = {}): TreeNode => ({
    kind: 'vm',
    id,
    name: id,
    state: 'running',
    generation: 1,
    ...(parentId === undefined ? {} : { parentId }),
    ...more,
  })
  const lines = treeLines([
    node('micro', undefined, { kind: 'image', state: 'ready' }),
    node('warm', 'micro', { kind: 'template', state: 'ready', generation: 0 }),
    node('a', 'warm', { chainDepth: 2 }),
    node('b', 'warm'),
    node('a-0', 'a', { generation: 2 }),
    node('copy', 'micro', { relation: 'clone', state: 'stopped' }),
  ])
  assert.deepEqual(lines, [
    'image micro  (ready)',
    '├─ template warm  (ready, generation 0)',
    '│  ├─ a  (running, generation 1, depth 2)',
    '│  │  └─ a-0  (running, generation 2)',
    '│  └─ b  (running, generation 1)',
    '└─ copy  (stopped, generation 1, disks only)',
  ])
  let deep: TreeNode[] = [node('n-0')]
  for (let depth = 1; depth < 5000; depth += 1) deep = [...deep, node(`n-${depth}`, `n-${depth - 1}`)]
  assert.equal(treeLines(deep).length, 5000)
})

test('a vm whose memory cannot come says so where vms are listed', () => {
  const stateReason = 'its memory cannot come: block 3 of memory.ckpt is damaged'
  const vm = { name: 'web', restore: { state: 'failed' }, stateReason } as VmInfo
  const notes = vmColumnsFor([vm]).find(({ heading }) => heading === 'NOTE')
  assert.equal(notes?.of(vm), stateReason)
})

test('durations and ages are one glance', () => {
  const cases: [number, string][] = [
    [2.34, '2.3 ms'],
    [840, '840 ms'],
    [1500, '1.5 s'],
    [45_000, '45 s'],
    [300_000, '5 min'],
    [7200_000, '2 h'],
    [5 * 86_400_000, '5 d'],
  ]
  for (const [ms, text] of cases) assert.equal(formatDuration(ms), text)
  assert.equal(formatAge('2026-01-01T00:00:00.000Z', Date.parse('2026-01-01T00:00:30.400Z')), '30 s')
  assert.equal(formatAge(undefined), '-')
})

test('what a guest says cannot steer the terminal', () => {
  assert.equal(harmless('ls\u001b[2J\r\nx'), 'ls·[2J··x')
})

test('what was meant is found, and what was not is not', () => {
  assert.equal(nearest('frok', ['fork', 'run', 'exec']), 'fork')
  assert.equal(nearest('lsit', ['list', 'ls']), 'list')
  assert.equal(nearest('zzz', ['fork', 'run']), undefined)
  assert.equal(editDistance('abc', 'acb'), 1)
  assert.equal(editDistance('', 'abc'), 3)
})

test('an event is a line', () => {
  const event = {
    id: 1,
    at: '2026-01-01T10:20:30.123Z',
    type: 'vm.state' as const,
    resource: { kind: 'vm' as const, id: 'vm-1', name: 'web' },
    data: { state: 'paused' },
  }
  assert.equal(eventText(event), '10:20:30  vm.state  web  paused')
  const operation = {
    kind: 'template.create',
    state: 'running',
    target: { name: 'warm' },
    progress: { stage: 'storing', fraction: 0.5 },
  }
  const progress = { ...event, type: 'operation.progress' as const, data: { operation } }
  assert.equal(eventText(progress), '10:20:30  operation.progress  warm  template.create  running  storing 50%')
})

test('the doctor names remedies, and says nothing more of what is well', () => {
  const text = doctorText({
    usable: false,
    checks: [
      { id: 'qemu', title: 'QEMU', verdict: 'ok', detail: '7.2', remedy: 'none' },
      {
        id: 'kvm',
        title: 'KVM',
        verdict: 'missing',
        detail: 'no /dev/kvm',
        effect: 'Guests are slower.',
        remedy: 'modprobe kvm',
      },
    ],
  })
  assert.equal(
    text,
    'ok      QEMU: 7.2\nmissing KVM: no /dev/kvm\n        Guests are slower.\n        remedy: modprobe kvm\n\nRamet does not work here yet; see what is missing above.',
  )
})

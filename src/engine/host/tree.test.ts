import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ImageRecord, SnapshotRecord, TemplateRecord, VmRecord } from '../records.ts'
import { around, lineage } from './tree.ts'

const image = { id: 'img-1', name: 'debian', tag: 'latest' } as ImageRecord

const template = (id: string, parentId?: string) =>
  ({ id, name: id, imageId: 'img-1', state: 'ready', generation: 1, ...(parentId && { parentId }) }) as TemplateRecord

const booted = (id: string) =>
  ({ id, name: id, imageId: 'img-1', state: 'running', generation: 1, source: { kind: 'image' } }) as VmRecord

const child = (id: string, parentId: string, parentName = parentId) =>
  ({ ...booted(id), parentId, generation: 2, source: { kind: 'template', id: parentId, name: parentName } }) as VmRecord

const relations = (tree: ReturnType<typeof lineage>) => tree.nodes.map(({ id, relation }) => [id, relation])

test('parents come before their children, each with how it came to be', () => {
  const clone = { ...booted('copy'), source: { kind: 'vm', id: 'vm', name: 'vm' } } as VmRecord
  const tree = lineage({
    images: [image],
    templates: [template('tpl')],
    vms: [child('c', 'tpl'), clone, booted('vm')],
    snapshots: [],
  })
  assert.deepEqual(relations(tree), [
    ['img-1', undefined],
    ['tpl', 'boot'],
    ['c', 'fork'],
    ['vm', 'boot'],
    ['copy', 'clone'],
  ])
})

test('a snapshot hangs on its vm, and what was restored of it below', () => {
  const saved = { id: 'snap', name: 'saved', state: 'ready', vm: booted('vm') } as SnapshotRecord
  const restored = { ...booted('again'), source: { kind: 'snapshot', id: 'snap', name: 'saved' } } as VmRecord
  const sources = { images: [image], templates: [], snapshots: [saved] }
  const tree = lineage({ ...sources, vms: [restored, booted('vm')] })
  assert.deepEqual(relations(tree), [
    ['img-1', undefined],
    ['vm', 'boot'],
    ['snap', 'snapshot'],
    ['again', 'restore'],
  ])
  // Its vm is gone; it is not.
  const left = lineage({ ...sources, vms: [] })
  assert.deepEqual(
    left.nodes.map(({ id, kind, state, parentId }) => [id, kind, state, parentId]),
    [
      ['img-1', 'image', 'ready', undefined],
      ['vm', 'vm', 'removed', 'img-1'],
      ['snap', 'snapshot', 'ready', 'vm'],
    ],
  )
})

test('a parent that is gone is shown as removed, and holds its children together', () => {
  const tree = lineage({
    images: [],
    templates: [],
    vms: [child('a', 'tpl-9', 'warm'), child('b', 'tpl-9', 'warm')],
    snapshots: [],
  })
  assert.deepEqual(
    tree.nodes.map(({ id, name, state }) => [id, name, state]),
    [
      ['tpl-9', 'warm', 'removed'],
      ['a', 'a', 'running'],
      ['b', 'b', 'running'],
    ],
  )
})

test('what is gone in the middle hangs under its own ancestors, by name', () => {
  const ancestor = (id: string, kind: 'template' | 'vm' = 'template') => ({ kind, id, name: `name of ${id}` })
  const ancestors = [ancestor('t1'), ancestor('t2'), ancestor('v3', 'vm')]
  const deep = { ...child('c', 'v3'), ancestors } as VmRecord
  const other = { ...template('t9', 't2'), ancestors: ancestors.slice(0, 2) } as TemplateRecord
  const above = (templates: TemplateRecord[]) =>
    lineage({ images: [image], templates, vms: [deep], snapshots: [] }).nodes.map(({ id, name, parentId }) => [
      id,
      name,
      parentId,
    ])
  assert.deepEqual(above([template('t1'), other]), [
    ['img-1', 'debian:latest', undefined],
    ['t1', 't1', 'img-1'],
    ['t2', 'name of t2', 't1'],
    ['v3', 'name of v3', 't2'],
    ['c', 'c', 'v3'],
    ['t9', 't9', 't2'],
  ])
  assert.deepEqual(above([])[1], ['t1', 'name of t1', 'img-1'])
})

test('the part around one node has its ancestors and its descendants, not its siblings', () => {
  const tree = lineage({
    images: [image],
    templates: [template('t1'), template('t2', 't1'), template('other')],
    vms: [child('c1', 't2'), child('c2', 't1')],
    snapshots: [],
  })
  assert.deepEqual(
    around(tree, 't2').nodes.map(({ id }) => id),
    ['img-1', 't1', 't2', 'c1'],
  )
})

test('whatever is removed, every thing that is there is shown once, after its parent', () => {
  const parents = fc.array(fc.nat(), { maxLength: 20 })
  fc.assert(
    fc.property(parents, fc.array(fc.boolean(), { minLength: 20, maxLength: 20 }), (choices, removed) => {
      const templates = choices.map((choice, index) =>
        template(`t${index}`, index === 0 ? undefined : `t${choice % index}`),
      )
      const left = templates.filter((_, index) => !removed[index])
      const { nodes } = lineage({ images: [image], templates: left, vms: [], snapshots: [] })
      const ids = nodes.map(({ id }) => id)
      assert.equal(new Set(ids).size, ids.length)
      for (const { id } of left) assert.ok(ids.includes(id), id)
      for (const { id, parentId } of nodes)
        if (parentId !== undefined) assert.ok(ids.indexOf(parentId) < ids.indexOf(id))
    }),
  )
})

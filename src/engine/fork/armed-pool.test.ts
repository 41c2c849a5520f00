import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TemplateRecord } from '../records.ts'
import { TestEngine } from '../testing/test-engine.ts'

/** An engine with a template whose shelf is full. */
async function filled(armed: number): Promise<{ engine: TestEngine; template: TemplateRecord }> {
  const engine = await TestEngine.open()
  const template = await engine.context.templates.update((await engine.createTemplate()).id, { armed })
  engine.parts.armed.refill(template)
  await engine.parts.armed.filled(template.id)
  return { engine, template }
}

test('a shelf is filled to what its template wants, and again after a child was taken', async () => {
  const { engine, template } = await filled(2)
  await using _ = engine
  const { armed } = engine.parts
  assert.deepEqual([armed.count(template.id), armed.total()], [2, 2])
  assert.ok(armed.take(template.id))
  armed.refill(template)
  armed.refill(template)
  await armed.filled(template.id)
  assert.equal(armed.count(template.id), 2)
})

test('a child that died on the shelf is passed over', async () => {
  const { engine, template } = await filled(2)
  await using _ = engine
  const [dead] = [...engine.vmm.guests.values()]
  dead?.crash()
  await dead?.gone
  const child = engine.parts.armed.take(template.id)
  assert.ok(child)
  assert.notEqual(child.draft.id, dead?.vmId)
  assert.equal(engine.parts.armed.take(template.id), undefined)
})

test('a child that cannot be armed is left to the next fork to report', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.context.templates.update((await engine.createTemplate()).id, { armed: 2 })
  engine.vmm.interfere = (what) => {
    if (what === 'migrate-set-capabilities') throw new TypeError('no')
  }
  engine.parts.armed.refill(template)
  await engine.parts.armed.filled(template.id)
  assert.equal(engine.parts.armed.count(template.id), 0)
  assert.deepEqual(engine.openOwners(), [template.id])
  engine.vmm.interfere = () => {}
  engine.parts.armed.refill(template)
  await engine.parts.armed.filled(template.id)
  assert.equal(engine.parts.armed.count(template.id), 2)
})

test('a shelf that is emptied while it is filled stays empty, and nothing is left of its children', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.context.templates.update((await engine.createTemplate()).id, { armed: 3 })
  engine.parts.armed.refill(template)
  await engine.parts.armed.empty(template.id)
  assert.equal(engine.parts.armed.count(template.id), 0)
  assert.deepEqual(engine.openOwners(), [template.id])
})

test('nothing is armed for a template that is not ready, nor once the daemon stops', async () => {
  const { engine, template } = await filled(1)
  await using _ = engine
  await engine.parts.armed.empty(template.id)
  engine.parts.armed.refill(await engine.context.templates.update(template.id, { state: 'removing' }))
  await engine.parts.armed.filled(template.id)
  assert.equal(engine.parts.armed.count(template.id), 0)
  await engine.parts.armed.stop()
  engine.parts.armed.refill(await engine.context.templates.update(template.id, { state: 'ready' }))
  assert.equal(engine.parts.armed.total(), 0)
})

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { isRametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import type { ConflictReason, Store, Write } from './store.ts'

/** What every store must do. Run it on each implementation. */
export function storeSuite(name: string, open: () => Promise<Store>): void {
  const withStore = (work: (store: Store) => Promise<void>) => async () => {
    const store = await open()
    try {
      await work(store)
    } finally {
      await store.close()
    }
  }

  describe(`store: ${name}`, () => {
    it('gives back what was created, and undefined for what was not', withStore(givesBack))
    it('updates by compare-and-set only', withStore(comparesAndSets))
    it('never uses a revision twice, not even after a deletion', withStore(neverReusesRevisions))
    it('lists a bucket by key, apart from other buckets', withStore(listsByKey))
    it('commits all writes or none', withStore(commitsAllOrNone))
    it('lets exactly one of many updaters of a revision win', withStore(oneUpdaterWins))
    it('refuses keys, buckets and values that not every store can carry', withStore(refusesUnfit))
    it('behaves as a map with revisions does', withStore(behavesAsModel))
  })
}

const conflicts = (reason: ConflictReason) => (error: unknown) =>
  isRametError(error, 'STORE_CONFLICT') && error.details.reason === reason

async function givesBack(store: Store): Promise<void> {
  const value = { name: 'quiet-elm', parts: [1, 2.5, null, true], text: 'naïve ☂ \u0000' }
  const revision = await store.create('vms', 'vm-1', value)
  assert.deepEqual(await store.get('vms', 'vm-1'), { key: 'vm-1', value, revision })
  assert.equal(await store.get('vms', 'vm-2'), undefined)
  await assert.rejects(store.create('vms', 'vm-1', {}), conflicts('exists'))
}

async function comparesAndSets(store: Store): Promise<void> {
  const first = await store.create('vms', 'a', 1)
  const second = await store.update('vms', 'a', 2, first)
  assert.ok(second > first)
  await assert.rejects(store.update('vms', 'a', 3, first), conflicts('changed'))
  await assert.rejects(store.update('vms', 'b', 3, second), conflicts('missing'))
  await assert.rejects(store.delete('vms', 'a', first), conflicts('changed'))
  assert.equal((await store.get('vms', 'a'))?.value, 2)
  await store.delete('vms', 'a', second)
  assert.equal(await store.get('vms', 'a'), undefined)
}

async function neverReusesRevisions(store: Store): Promise<void> {
  const first = await store.create('vms', 'a', 1)
  await store.delete('vms', 'a')
  await store.delete('vms', 'a')
  const second = await store.create('vms', 'a', 1)
  assert.ok(second > first)
  await assert.rejects(store.update('vms', 'a', 2, first), conflicts('changed'))
}

async function listsByKey(store: Store): Promise<void> {
  assert.deepEqual(await store.list('vms'), [])
  for (const key of ['b', 'a', 'c/d']) await store.create('vms', key, key)
  await store.create('templates', 'a', 'other')
  const documents = await store.list('vms')
  assert.deepEqual(
    documents.map(({ key, value }) => [key, value]),
    [
      ['a', 'a'],
      ['b', 'b'],
      ['c/d', 'c/d'],
    ],
  )
}

async function commitsAllOrNone(store: Store): Promise<void> {
  const revision = await store.create('vms', 'a', 1)
  await assert.rejects(
    store.commit([
      { op: 'update', bucket: 'vms', key: 'a', value: 2, expectedRevision: revision },
      { op: 'create', bucket: 'names', key: 'n', value: 'a' },
      { op: 'delete', bucket: 'vms', key: 'gone', expectedRevision: 1 },
    ]),
    conflicts('missing'),
  )
  assert.equal((await store.get('vms', 'a'))?.value, 1)
  assert.equal(await store.get('names', 'n'), undefined)

  const revisions = await store.commit([
    { op: 'update', bucket: 'vms', key: 'a', value: 2, expectedRevision: revision },
    { op: 'create', bucket: 'names', key: 'n', value: 'a' },
    { op: 'delete', bucket: 'names', key: 'n' },
  ])
  assert.equal((await store.get('vms', 'a'))?.revision, revisions[0])
  assert.equal(revisions[2], 0)
  assert.equal(await store.get('names', 'n'), undefined)
  assert.deepEqual(await store.commit([]), [])
}

async function oneUpdaterWins(store: Store): Promise<void> {
  const revision = await store.create('vms', 'a', 'nobody')
  const attempts = ['p', 'q', 'r', 's'].map((who) => store.update('vms', 'a', who, revision))
  const outcomes = await Promise.allSettled(attempts)
  assert.equal(outcomes.filter((outcome) => outcome.status === 'fulfilled').length, 1)
}

async function refusesUnfit(store: Store): Promise<void> {
  const invalid = (error: unknown) => isRametError(error, 'INVALID_ARGUMENT')
  for (const key of ['', '.a', 'a.', 'a b', 'a*', 'a>', 'é', 'x'.repeat(limits.storeKeyChars + 1)])
    await assert.rejects(store.create('vms', key, 1), invalid, `key “${key}”`)
  for (const bucket of ['', 'VMs', 'a.b', '-a']) await assert.rejects(store.list(bucket), invalid, `bucket “${bucket}”`)
  await assert.rejects(store.create('vms', 'a', undefined), invalid)
  await assert.rejects(store.create('vms', 'a', 'x'.repeat(limits.storeValueBytes)), (error) =>
    isRametError(error, 'TOO_LARGE'),
  )
  assert.deepEqual(await store.list('vms'), [])
}

/** Random commits, against a plain map: the same successes, the same contents. */
async function behavesAsModel(store: Store): Promise<void> {
  const action = fc.record({
    op: fc.constantFrom('create' as const, 'update' as const, 'delete' as const),
    key: fc.constantFrom('a', 'b', 'c'),
    value: fc.jsonValue(),
    stale: fc.boolean(),
  })
  let run = 0
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(action, { minLength: 1, maxLength: 4 }), { maxLength: 8 }), async (commits) => {
      run += 1
      const bucket = `run-${run}`
      const model = new Map<string, { value: unknown; revision: number }>()
      for (const actions of commits) {
        const writes = actions.map(({ op, key, value, stale }): Write => {
          const expectedRevision = (model.get(key)?.revision ?? 0) - (stale ? 1 : 0)
          if (op === 'create') return { op, bucket, key, value }
          if (op === 'update') return { op, bucket, key, value, expectedRevision }
          return { op, bucket, key, expectedRevision }
        })
        const fits = modelFits(model, writes)
        const revisions = await store.commit(writes).catch((error: unknown) => {
          if (!isRametError(error, 'STORE_CONFLICT')) throw error
        })
        assert.equal(revisions !== undefined, fits)
        for (const [index, write] of (fits ? writes : []).entries()) {
          if (write.op === 'delete') model.delete(write.key)
          else model.set(write.key, { value: write.value, revision: revisions?.[index] ?? 0 })
        }
        const stored = (await store.list(bucket)).map(({ key, value, revision }) => [key, { value, revision }])
        const wanted = [...model].sort(([a], [b]) => (a < b ? -1 : 1))
        assert.deepEqual(stored, JSON.parse(JSON.stringify(wanted)))
      }
    }),
    { numRuns: 30 },
  )
}

/** A revision given out within the commit is never the one a later write of it expects. */
function modelFits(model: ReadonlyMap<string, { revision: number }>, writes: readonly Write[]): boolean {
  const revisions = new Map([...model].map(([key, { revision }]) => [key, revision]))
  for (const write of writes) {
    const revision = revisions.get(write.key)
    if (write.op === 'create' ? revision !== undefined : revision !== write.expectedRevision) return false
    if (write.op === 'delete') revisions.delete(write.key)
    else revisions.set(write.key, Number.NaN)
  }
  return true
}

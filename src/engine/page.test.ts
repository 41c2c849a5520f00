import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isRametError } from '../shared/errors.ts'
import { matchesLabels, paginate } from './page.ts'

test('the pages of a list are the list, whatever their size', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.string({ minLength: 1 }), { maxLength: 30 }),
      fc.integer({ min: 1, max: 9 }),
      (ids, limit) => {
        const rows = ids.map((id) => ({ id }))
        const seen: string[] = []
        let cursor: string | undefined
        do {
          const page = paginate(rows, { limit, cursor })
          seen.push(...page.items.map(({ id }) => id))
          cursor = page.nextCursor
        } while (cursor !== undefined)
        assert.deepEqual(seen, ids)
      },
    ),
  )
})

test('a cursor whose row has gone, or that is none, is refused', () => {
  const rows = [{ id: 'a' }, { id: 'b' }]
  const { nextCursor } = paginate(rows, { limit: 1 })
  const refused = (error: unknown) => isRametError(error, 'INVALID_ARGUMENT')
  assert.throws(() => paginate([{ id: 'b' }], { limit: 1, cursor: nextCursor }), refused)
  assert.throws(() => paginate(rows, { limit: 1, cursor: '%%%' }), refused)
})

test('labels are selected by key, or by key and value', () => {
  const labels = { team: 'red', empty: '', odd: 'a=b' }
  assert.ok(matchesLabels(labels, []))
  assert.ok(matchesLabels(labels, ['team', 'team=red', 'empty=', 'odd=a=b']))
  assert.equal(matchesLabels(labels, ['team=blue']), false)
  assert.equal(matchesLabels(labels, ['none']), false)
  assert.equal(matchesLabels(labels, ['toString']), false)
})

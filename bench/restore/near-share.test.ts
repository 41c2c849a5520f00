import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PageMapBuilder } from '../../src/memory/page-tables/page-map-builder.ts'
import { countNear } from './near-share.ts'

test('pairs of adjacent virtual pages are counted, and those whose frames are near', () => {
  const builder = new PageMapBuilder(1000, 1000)
  builder.beginSpace()
  builder.add(100, 5, 1)
  builder.add(101, 21, 1)
  builder.add(102, 4, 1)
  // not adjacent to the one before
  builder.add(110, 5, 1)
  builder.beginSpace()
  builder.add(500, 700, 3)
  const map = builder.build()
  assert.deepEqual(countNear(map, 0), { adjacent: 2, near: 1 })
  assert.deepEqual(countNear(map, 1), { adjacent: 2, near: 2 })
})

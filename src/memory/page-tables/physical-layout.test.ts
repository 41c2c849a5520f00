import assert from 'node:assert/strict'
import { test } from 'node:test'
import { frameOfPage, pageOfFrame, q35Layout } from './physical-layout.ts'

const MiB = 1024 * 1024
const GiB = 1024 * MiB

test('a small guest lies where its image says', () => {
  const layout = q35Layout(256 * MiB + 8192)
  assert.equal(pageOfFrame(layout, 0), 0)
  assert.equal(pageOfFrame(layout, 65_537), 65_537)
  assert.equal(pageOfFrame(layout, 65_538), undefined)
  assert.equal(pageOfFrame(layout, 0x100000), undefined, 'there is nothing at 4 GiB')
  assert.equal(pageOfFrame(layout, -1), undefined)
})

test('a large guest goes on at 4 GiB', () => {
  const layout = q35Layout(3 * GiB)
  assert.equal(layout.lowPageCount, 0x80000)
  assert.equal(pageOfFrame(layout, 0x7ffff), 0x7ffff)
  assert.equal(pageOfFrame(layout, 0x80000), undefined, 'the hole begins at 2 GiB')
  assert.equal(pageOfFrame(layout, 0xfffff), undefined)
  assert.equal(pageOfFrame(layout, 0x100000), 0x80000)
  assert.equal(pageOfFrame(layout, 0x13ffff), 0xbffff)
  assert.equal(pageOfFrame(layout, 0x140000), undefined)
})

test('the split is where QEMU makes it', () => {
  assert.equal(q35Layout(0xb000_0000 - 4096).lowPageCount, 0xb0000 - 1)
  assert.equal(q35Layout(0xb000_0000).lowPageCount, 0x80000)
})

test('both directions agree', () => {
  for (const layout of [q35Layout(64 * MiB), q35Layout(5 * GiB), { pageCount: 7, lowPageCount: 3 }]) {
    for (const page of [0, 1, layout.lowPageCount - 1, layout.lowPageCount, layout.pageCount - 1]) {
      if (page < layout.pageCount) assert.equal(pageOfFrame(layout, frameOfPage(layout, page)), page)
    }
  }
})

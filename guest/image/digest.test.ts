import assert from 'node:assert/strict'
import { mkdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { digestOfTree, digestOfValue } from './digest.ts'
import { testPlace } from './testing/fixtures.ts'
import { imageIdOf } from './workshop.ts'

test('the order of keys and absent ones do not change a digest', () => {
  assert.equal(digestOfValue({ a: 1, b: [{ c: 2, d: 3 }] }), digestOfValue({ b: [{ d: 3, c: 2 }], a: 1, e: undefined }))
  assert.notEqual(digestOfValue({ a: 1 }), digestOfValue({ a: '1' }))
  assert.notEqual(digestOfValue(['a', 'b']), digestOfValue(['b', 'a']))
})

test('a digest is the same on every machine', () => {
  const expected = 'a8719a00e34746468989da6db2161cf2687d3a5592db549c645c3a59c8b29e1b'
  assert.equal(digestOfValue({ recipe: 'micro', list: [1, 'two', null, true] }), expected)
})

test('a tree’s digest is that of its names and contents', async () => {
  await using place = await testPlace()
  const [one, two] = [join(place.dir, 'one'), join(place.dir, 'two')]
  for (const dir of [one, two]) {
    await mkdir(join(dir, 'src'), { recursive: true })
    await writeFile(join(dir, 'src', 'a.c'), 'int a;')
    await writeFile(join(dir, 'note.txt'), dir)
  }
  await utimes(join(two, 'src', 'a.c'), 1, 1)
  const sources = (path: string) => path.endsWith('.c')
  assert.equal(await digestOfTree(one, sources), await digestOfTree(two, sources))
  await writeFile(join(two, 'src', 'a.c'), 'int b;')
  assert.notEqual(await digestOfTree(one, sources), await digestOfTree(two, sources))
})

test('an image’s id follows kernel, agent and recipe', () => {
  const shop = { kernel: { release: '6.1', version: '6.1-1', debPath: '/a' }, agentDigest: 'a' }
  const id = imageIdOf(shop, { recipe: 'micro' })
  assert.match(id, /^img-[0-9a-f]{12}$/)
  assert.equal(imageIdOf({ ...shop, kernel: { ...shop.kernel, debPath: '/b' } }, { recipe: 'micro' }), id)
  assert.notEqual(imageIdOf({ ...shop, agentDigest: 'b' }, { recipe: 'micro' }), id)
  assert.notEqual(imageIdOf({ ...shop, kernel: { ...shop.kernel, version: '6.1-2' } }, { recipe: 'micro' }), id)
  assert.notEqual(imageIdOf(shop, { recipe: 'micro', cmdline: 'quiet' }), id)
})

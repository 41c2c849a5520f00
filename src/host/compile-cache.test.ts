import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compileCacheOf } from './compile-cache.ts'

test('a process of ours keeps compiled code where this one does, and nothing else of its environment', () => {
  assert.deepEqual(compileCacheOf({ NODE_COMPILE_CACHE: '/cache', SECRET: 'x' }), { NODE_COMPILE_CACHE: '/cache' })
  assert.deepEqual(compileCacheOf({ NODE_COMPILE_CACHE: '' }), {})
  assert.deepEqual(compileCacheOf({}), {})
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RestoreFigures } from '../../api/restore.ts'
import { emptyStats } from '../../checkpoint/serve/testing/empty-stats.ts'
import { limits } from '../../shared/limits.ts'
import { figuresFrom, marks } from './figures.ts'

const sampled = { prefetchedPages: 1000, prefetchSampledPages: 32, prefetchSampledUsedPages: 24 }

test('what was prefetched and used is told with its sample, and left out while that is too small', () => {
  const { stallMs } = emptyStats
  const early = { ...emptyStats, ...sampled, prefetchSampledPages: limits.pageServerSampleLeastPages - 1 }
  const { now, atReady, atFirstExec } = figuresFrom({
    ...{ ...emptyStats, ...sampled },
    marks: [{ ...early, prefetchSampledUsedPages: 9, name: marks.ready, atMs: 5, stallMs }],
  })
  assert.deepEqual([now.prefetchHitRatio, now.prefetchedUsedPages], [0.75, 750])
  assert.deepEqual([now.prefetchedPages, now.prefetchSampledPages, now.prefetchSampledUsedPages], [1000, 32, 24])
  assert.ok(atReady !== undefined && !('prefetchHitRatio' in atReady) && !('prefetchedUsedPages' in atReady))
  assert.deepEqual([atReady.prefetchSampledUsedPages, atReady.elapsedMs], [9, 5])
  assert.equal(atFirstExec, undefined)
  for (const figures of [now, atReady]) assert.deepEqual(RestoreFigures.parse(figures), figures)
})

import assert from 'node:assert/strict'
import process from 'node:process'
import { test } from 'node:test'
import { limits } from '../../shared/limits.ts'
import { randomOf } from '../file/testing/sample.ts'
import { hitRatio, PrefetchSample, sampleEvery } from './prefetch-sample.ts'

// Everything follows from the seed: RAMET_FUZZ_SEED=N replays a run.
const seed = Number(process.env.RAMET_FUZZ_SEED ?? 1)
const page = Buffer.from('a page')

function chosen(every: number, key: string, pageCount: number): number[] {
  const sample = new PrefetchSample(every, key)
  return Array.from({ length: pageCount }, (_, number) => number).filter((number) => sample.withhold(number, page))
}

test('so many pages are chosen, the same for the same key, others for another', () => {
  const pageCount = 200_000
  for (const every of [1, 16, 512, 1024]) {
    const pages = chosen(every, `restore ${seed}`, pageCount)
    const expected = pageCount / every
    assert.ok(Math.abs(pages.length - expected) <= 4 * Math.sqrt(expected), `${pages.length} instead of ${expected}`)
    assert.deepEqual(chosen(every, `restore ${seed}`, pageCount), pages)
  }
  const others = new Set(chosen(16, 'another', pageCount))
  const both = chosen(16, `restore ${seed}`, pageCount).filter((number) => others.has(number))
  assert.ok(Math.abs(both.length - pageCount / 256) <= 4 * Math.sqrt(pageCount / 256), `${both.length} of both`)
  assert.deepEqual(chosen(0, 'none', pageCount), [])
})

/** Uses of pages as guests have them: walks, tables in regular steps, single pages. */
function usesOf(random: (below: number) => number, pageCount: number): boolean[] {
  const uses = Array.from({ length: pageCount }, () => false)
  for (let part = 0; part < 40; part += 1) {
    const [start, step, length] = [random(pageCount), 1 << random(11), 1 + random(pageCount / 10)]
    for (let at = start; at < Math.min(pageCount, start + length); at += step) uses[at] = true
  }
  return uses
}

test('what is told of the sample is true of all pages, but for chance', () => {
  const random = randomOf(seed)
  const pageCount = 20_000
  const every = 50
  let deviations = 0
  const rounds = 100
  for (let round = 0; round < rounds; round += 1) {
    const uses = usesOf(random, pageCount)
    const truth = uses.filter(Boolean).length / pageCount
    const sample = chosen(every, `${seed} ${round}`, pageCount)
    const counted = {
      prefetchSampledPages: sample.length,
      prefetchSampledUsedPages: sample.filter((number) => uses[number]).length,
    }
    const error = Math.sqrt((truth * (1 - truth)) / sample.length)
    const deviation = ((hitRatio(counted) ?? Number.NaN) - truth) / error
    assert.ok(Math.abs(deviation) <= 4.5, `round ${round} of seed ${seed} is ${deviation} standard errors off`)
    deviations += deviation
  }
  // Of all rounds together: no bias to one side.
  assert.ok(Math.abs(deviations / Math.sqrt(rounds)) <= 4, `seed ${seed}: ${deviations}`)
})

test('a page is withheld until it is asked for, or everything else was sent', () => {
  const sample = new PrefetchSample(1, 'all')
  const block = Buffer.from('a page and its neighbours')
  assert.equal(sample.isWithheld(7), false)
  for (const number of [7, 8, 9]) assert.equal(sample.withhold(number, block.subarray(0, 6)), true)
  block.fill(0)
  assert.equal(sample.isWithheld(7), true)
  assert.deepEqual(sample.take(7), page, 'whatever becomes of the block that it was in')
  assert.equal(sample.take(7), undefined)
  assert.equal(sample.isWithheld(7), false)
  assert.deepEqual(sample.giveUp(), [
    { page: 8, data: page },
    { page: 9, data: page },
  ])
  assert.equal(sample.isWithheld(8), false, 'free to be sent')
  assert.equal(sample.withhold(10, page), false)
  assert.deepEqual(sample.take(8), page, 'asked for before it was sent after all')
  sample.sent(9)
  assert.deepEqual(sample.giveUp(), [])
})

test('too small a sample tells nothing', () => {
  const least = limits.pageServerSampleLeastPages
  assert.equal(hitRatio({ prefetchSampledPages: 0, prefetchSampledUsedPages: 0 }), undefined)
  assert.equal(hitRatio({ prefetchSampledPages: least - 1, prefetchSampledUsedPages: least - 1 }), undefined)
  assert.equal(hitRatio({ prefetchSampledPages: least, prefetchSampledUsedPages: least / 4 }), 0.25)
})

test('a sample costs one fault in a thousand, or a few', () => {
  for (const neededPages of [0, 1, 5_000, 20_000, 32_768, 100_000, 16_777_216]) {
    const faults = neededPages / sampleEvery(neededPages)
    assert.ok(faults <= Math.max(limits.pageServerSamplePages, neededPages / 1000), `${faults} of ${neededPages}`)
    assert.ok(faults <= neededPages / 250)
  }
})

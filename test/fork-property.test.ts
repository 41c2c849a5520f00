import assert from 'node:assert/strict'
import process from 'node:process'
import { after, before, describe, it } from 'node:test'
import { runSeed } from './support/fork-run.ts'
import { stepKinds, stepsOf } from './support/fork-steps.ts'
import { Host } from './support/host.ts'
import { buildScribe } from './support/scribe.ts'

/** Chosen so that together they do everything there is to do. */
const fixedSeeds = [15, 259, 1518]
const fixedStepCount = 10
const { RAMET_SEED: given, RAMET_STEPS: steps } = process.env
const stepCount = Number(steps ?? fixedStepCount)
const randomSeed = Math.floor(Math.random() * 2 ** 32)
const seeds = given === undefined ? [...fixedSeeds, randomSeed] : [Number(given)]

describe('whatever is done to vms that fork, each holds what it must', () => {
  let host: Host
  let scribe: Buffer

  before(async () => {
    scribe = await buildScribe()
    host = await Host.start()
  })
  after(() => host.close())

  for (const seed of seeds) {
    it(`seed ${seed}`, async () => {
      await runSeed({ host, scribe, seed, stepCount })
    })
  }
})

it('the fixed seeds do everything there is to do', () => {
  const done = new Set(fixedSeeds.flatMap((seed) => stepsOf(seed, fixedStepCount).map(({ kind }) => kind)))
  assert.deepEqual(
    [...stepKinds].filter((kind) => !done.has(kind)),
    [],
  )
})

import process from 'node:process'
import { after, before, describe, it } from 'node:test'
import { runSeed } from './support/fork-run.ts'
import { Host } from './support/host.ts'
import { buildScribe } from './support/scribe.ts'

// The same as fork-property.test.ts for longer: other seeds each time, and generations further down.

const { RAMET_SEED: given, RAMET_STEPS: steps = '60' } = process.env
const seedCount = 10
const seeds =
  given === undefined
    ? Array.from({ length: seedCount }, () => Math.floor(Math.random() * 2 ** 32))
    : given.split(',').map(Number)

describe(`whatever is done to vms that fork, each holds what it must, over ${steps} steps`, () => {
  let host: Host
  let scribe: Buffer

  before(async () => {
    scribe = await buildScribe()
    host = await Host.start()
  })
  after(() => host.close())

  for (const seed of seeds) {
    it(`seed ${seed}`, async (t) => {
      const onStep = (line: string) => t.diagnostic(line)
      await runSeed({ host, scribe, seed, stepCount: Number(steps), onStep })
    })
  }
})

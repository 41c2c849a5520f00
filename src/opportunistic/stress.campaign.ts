/** Ten million accepted reads of each realisation, none of them torn; and as many of the wrong order, to see that it would be noticed. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { kinds } from './testing/realisations.ts'
import { type StressOptions, stress } from './testing/stress.ts'
import { stressWithin } from './testing/under-pressure.ts'

const MiB = 1024 * 1024
const accepted = 10_000_000
const seed = Number(process.env.RAMET_SEED ?? Date.now() % 1_000_000)
const many: StressOptions = {
  ...{ kind: 'lru', check: 'after', readers: 2, taking: { what: 'pages' }, seed },
  ...{ blockCount: 2048, blockBytes: 4096, accepted },
}

describe(`readers, fillers and takers at once (RAMET_SEED=${seed})`, { timeout: 3_600_000 }, () => {
  for (const kind of kinds) {
    it(`${kind}: pages`, async (t) => {
      const result = await stress({ ...many, kind })
      t.diagnostic(JSON.stringify(result))
      assert.ok(result.accepted >= accepted)
      assert.equal(result.torn, 0)
    })

    it(`${kind}: blocks of 64 KiB`, async (t) => {
      const result = await stress({ ...many, kind, blockCount: 256, blockBytes: 65_536, accepted: accepted / 20 })
      t.diagnostic(JSON.stringify(result))
      assert.equal(result.torn, 0)
    })
  }

  for (const kind of ['free-list', 'kernel'] as const) {
    it(`${kind}: compared before the copy`, async (t) => {
      const result = await stress({ ...many, kind, check: 'before', accepted: accepted / 10 })
      t.diagnostic(JSON.stringify(result))
      assert.ok(result.torn > 0)
    })
  }

  it('kernel: taken because memory is short', async (t) => {
    const taking = { what: 'memory', bytes: 256 * MiB } as const
    const blocks = { blockCount: (256 * MiB) / 4096 }
    const pressed = await stressWithin(440 * MiB, { ...many, ...blocks, kind: 'kernel', taking })
    assert.ok(pressed !== undefined, 'this campaign needs a control group with a limit on memory')
    t.diagnostic(JSON.stringify(pressed))
    assert.equal(pressed.result.torn, 0)
    assert.ok(pressed.result.lost > 0)
    assert.equal(pressed.oomKillCount, 0)
  })
})

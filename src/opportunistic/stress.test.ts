/** The short form of `stress.campaign.ts`: the same threads, for a moment. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { kinds } from './testing/realisations.ts'
import { type StressOptions, stress } from './testing/stress.ts'
import { stressWithin } from './testing/under-pressure.ts'

const MiB = 1024 * 1024
const seed = Number(process.env.RAMET_SEED ?? Date.now() % 1_000_000)
const few: StressOptions = {
  ...{ kind: 'lru', check: 'after', readers: 2, taking: { what: 'pages' }, seed },
  ...{ blockCount: 512, blockBytes: 4096, accepted: 50_000 },
}

describe(`readers, fillers and takers at once (RAMET_SEED=${seed})`, { timeout: 240_000 }, () => {
  for (const kind of kinds) {
    it(`${kind}: no torn read is accepted`, async (t) => {
      const result = await stress({ ...few, kind })
      t.diagnostic(JSON.stringify(result))
      assert.equal(result.torn, 0)
      assert.ok(result.accepted >= few.accepted)
      assert.equal(result.lost > 0, kind !== 'lru')
    })
  }

  for (const kind of ['free-list', 'kernel'] as const) {
    it(`${kind}: compared before the copy, torn reads are accepted, and found`, async (t) => {
      const large = { blockCount: 64, blockBytes: 65_536, accepted: 3_000_000, untilTorn: true }
      const result = await stress({ ...few, ...large, kind, check: 'before' })
      t.diagnostic(JSON.stringify(result))
      assert.ok(result.torn > 0)
    })
  }

  it('kernel: pages are taken because memory is short, nobody is killed, nothing torn is accepted', async (t) => {
    const taking = { what: 'memory', bytes: 96 * MiB } as const
    const options: StressOptions = { ...few, kind: 'kernel', blockCount: (128 * MiB) / 4096, accepted: 50_000, taking }
    const pressed = await stressWithin(224 * MiB, options)
    t.diagnostic(pressed === undefined ? 'no limit on memory can be set here' : JSON.stringify(pressed))
    const result = pressed?.result ?? (await stress({ ...options, taking: { what: 'pages' } }))
    assert.equal(result.torn, 0)
    assert.ok(result.lost > 0)
    assert.equal(pressed?.oomKillCount ?? 0, 0)
  })
})

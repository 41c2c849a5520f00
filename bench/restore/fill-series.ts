import type { PageServerClient } from '../../src/checkpoint/serve/client.ts'
import type { RestoreStats } from '../../src/checkpoint/serve/stats-schema.ts'
import { pageBytes } from '../../src/memory/base.ts'
import type { GuestKind, Moment } from './moment.ts'
import { RestoredGuest } from './restore-run.ts'
import type { Site } from './site.ts'

/** How fast the rest of a guest comes by itself. */
export interface FillSeries {
  guest: GuestKind
  /** while the guest waits for nothing, bytes of its memory a second */
  idleBytesPerSecond: number[]
  curve: LoadPoint[]
}

/** A guest that touches one page after another that is not there, with and without the fill beside it. */
export interface LoadPoint {
  /** from the arrival of a page to the next touch */
  gapUs: number
  samples: LoadSample[]
}

export interface LoadSample {
  /** as the guest's own clock tells it, with nothing filled in, microseconds */
  idleWaitUs: { p50: number; p90: number; p99: number }
  /** beside the fill */
  waitUs: { p50: number; p90: number; p99: number }
  /** touches that had to wait, of those beside the fill */
  waits: number
  faultsPerSecond: number
  fillBytesPerSecond: number
}

/** Of one page in each 32 of the field there are 768. */
const loads = [
  { gapUs: 0, touches: 700 },
  { gapUs: 1000, touches: 400 },
  { gapUs: 4000, touches: 200 },
  { gapUs: 16_000, touches: 60 },
] as const

const server = { policy: 'none', storeDelayMs: 0 } as const

export async function measureFill(
  site: Site,
  client: PageServerClient,
  moment: Moment,
  runs: number,
): Promise<FillSeries> {
  const series: FillSeries = { guest: moment.kind, idleBytesPerSecond: [], curve: [] }
  for (let run = 0; run < runs; run += 1) series.idleBytesPerSecond.push(await fillIdle(site, client, moment))
  for (const { gapUs, touches } of loads) {
    const samples: LoadSample[] = []
    for (let run = 0; run < runs; run += 1) samples.push(await fillUnderLoad(site, client, moment, gapUs, touches))
    series.curve.push({ gapUs, samples })
  }
  return series
}

/** From the answer of its agent on, the guest does nothing. */
async function fillIdle(site: Site, client: PageServerClient, moment: Moment): Promise<number> {
  await using restored = await RestoredGuest.start(site, moment, { way: 'lazy', client, ...server, fill: 'paced' })
  const before = await restored.mark('idle')
  const after = await restored.untilComplete()
  if (before === undefined || after === undefined) throw new Error('a lazy restore without figures')
  return rateOf(before, after)
}

async function fillUnderLoad(
  site: Site,
  client: PageServerClient,
  moment: Moment,
  gapUs: number,
  touches: number,
): Promise<LoadSample> {
  const idle = await touch(site, client, moment, 'none', gapUs, touches)
  const beside = await touch(site, client, moment, 'paced', gapUs, touches)
  return {
    idleWaitUs: idle.waitUs,
    waitUs: beside.waitUs,
    waits: beside.waits,
    faultsPerSecond: beside.faultsPerSecond,
    fillBytesPerSecond: beside.fillBytesPerSecond,
  }
}

async function touch(
  site: Site,
  client: PageServerClient,
  moment: Moment,
  fill: 'none' | 'paced',
  gapUs: number,
  touches: number,
) {
  await using restored = await RestoredGuest.start(site, moment, { way: 'lazy', client, ...server, fill })
  const program = await restored.program()
  // Its code comes, and is translated.
  await program.ask('touch 20 0')
  const before = await restored.mark('before')
  const [, waits, p50, p90, p99] = await program.ask(`touch ${touches} ${gapUs}`)
  const after = await restored.mark('after')
  if (before === undefined || after === undefined) throw new Error('a lazy restore without figures')
  const us = (nanoseconds: string | undefined) => Number(nanoseconds) / 1000
  return {
    waitUs: { p50: us(p50), p90: us(p90), p99: us(p99) },
    waits: Number(waits),
    faultsPerSecond: ((after.demandFaults - before.demandFaults) * 1000) / (after.elapsedMs - before.elapsedMs),
    fillBytesPerSecond: rateOf(before, after),
  }
}

function rateOf(before: RestoreStats, after: RestoreStats): number {
  const filledBytes = (after.filledPages - before.filledPages) * pageBytes
  return (filledBytes * 1000) / (after.elapsedMs - before.elapsedMs)
}

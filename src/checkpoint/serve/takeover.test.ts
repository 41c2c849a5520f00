import assert from 'node:assert/strict'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { pageBytes } from '../../memory/base.ts'
import { offerToQemu, type QemuProcess } from '../../qemu/process.ts'
import { counterPasses } from '../../qemu/testing/guest-fixture.ts'
import { randomOf } from '../file/testing/sample.ts'
import type { RestoreRequest } from './protocol.ts'
import { differences, outcome, ServedGuests } from './testing/served-guest.ts'

const offer = await offerToQemu()
const skip = 'why' in offer && offer.why

// The moments follow from the seed: RAMET_FUZZ_SEED=N replays a run.
const seed = Number(process.env.RAMET_FUZZ_SEED ?? 1)
const deathCount = 20

/** Has a QEMU whose source died listen again. It may not have noticed yet. */
async function recover(qemu: QemuProcess, name: string): Promise<string> {
  await qemu.qmp.execute('migrate-recover', { uri: `unix:${name}` }, { oob: true })
  return join(qemu.dir, name)
}

test('a server killed twenty times within one restore leaves a guest with all of its memory', { skip }, async () => {
  await using guests = new ServedGuests()
  const stored = await guests.checkpoint()
  const random = randomOf(seed)
  const qemu = await guests.destination()
  let request: RestoreRequest = guests.request(stored, qemu)
  let sentPages = 0
  for (let death = 0; death < deathCount; death += 1) {
    const paused = qemu.qmp.waitEvent('MIGRATION', ({ data }) => data.status === 'postcopy-paused')
    const servedPages = 1 + random(400)
    const client = await guests.server({ RAMET_FAULT: `page-server.page=kill@${servedPages}` })
    const running = qemu.qmp.waitEvent('MIGRATION', ({ data }) => data.status === 'postcopy-active')
    running.catch(() => {})
    // It may die before it has answered.
    await client.serve(request).catch(() => {})
    if (death === 0) await running
    await client.closed
    sentPages += servedPages - 1
    await paused
    const qemuSocket = await recover(qemu, `recover${death}.sock`)
    request = { ...request, qemuSocket, takeOver: true }
  }
  const client = await guests.server()
  const over = outcome(client, request.restoreId)
  await client.serve(request)
  const { notice, stats } = await over
  assert.equal(notice, 'completed')
  // What was on its way when one was killed may have been sent again by the next.
  assert.ok(stats.sentPages < stats.neededPages && stats.sentPages >= stats.neededPages - sentPages, `seed ${seed}`)
  assert.deepEqual(await differences(qemu, stored.memory), [], `seed ${seed}`)
  await qemu.qmp.execute('cont')
  await counterPasses(qemu, stored.template.counter + 10)
})

test('a guest that runs meanwhile goes on where it was', { skip }, async () => {
  await using guests = new ServedGuests()
  const stored = await guests.checkpoint()
  const qemu = await guests.destination()
  const first = await guests.server({ RAMET_FAULT: 'page-server.page=kill@300' })
  const paused = qemu.qmp.waitEvent('MIGRATION', ({ data }) => data.status === 'postcopy-paused')
  const request = guests.request(stored, qemu, { fill: 'none', policy: 'none' })
  await first.serve(request)
  await qemu.qmp.execute('cont')
  // It touches a new page at each count, until nobody answers.
  await first.closed
  await paused
  const second = await guests.server()
  const over = outcome(second, request.restoreId)
  await second.serve({ ...request, qemuSocket: await recover(qemu, 'recover.sock'), takeOver: true })
  await counterPasses(qemu, stored.template.counter + 400)
  await second.hurry(request.restoreId)
  assert.equal((await over).notice, 'completed')
  await counterPasses(qemu, stored.template.counter + 500)
  await qemu.qmp.execute('stop')
  // All but the firmware's own: its variables, and the trail of its counts.
  const touched = (page: number) => page < 16 || (page >= 512 && page < 512 + 4096)
  assert.deepEqual(
    (await differences(qemu, stored.memory)).filter((page) => !touched(page)),
    [],
  )
  assert.ok(stored.memory.length / pageBytes > 512 + 4096)
})

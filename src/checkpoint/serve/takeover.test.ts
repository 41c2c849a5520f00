import assert from 'node:assert/strict'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { identify, signalProcess, waitForExit } from '../../host/process-identity.ts'
import { pageBytes } from '../../memory/base.ts'
import type { QemuProcess } from '../../qemu/process.ts'
import { counterPasses } from '../../qemu/testing/guest-fixture.ts'
import { withoutUserfaultfd as skip } from '../../qemu/testing/userfaultfd.ts'
import { randomOf } from '../file/testing/sample.ts'
import type { RestoreRequest } from './protocol.ts'
import { differences, outcome, ServedGuests } from './testing/served-guest.ts'

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

test('a server that is told to end stays while a guest needs it, and goes when none does', { skip }, async () => {
  await using guests = new ServedGuests()
  const stored = await guests.checkpoint()
  const client = await guests.server()
  const server = identify(client.pid)
  assert.ok(server !== undefined)
  const qemu = await guests.destination()
  const request = guests.request(stored, qemu, { fill: 'none', policy: 'none' })
  const over = outcome(client, request.restoreId)
  await client.serve(request)
  await assert.rejects(client.serve(request), { code: 'IN_USE' })
  signalProcess(server, 'SIGTERM')
  const { stats } = (await client.list())[0] ?? {}
  assert.equal(stats?.state, 'serving')
  await client.mark(request.restoreId, 'told')
  await client.hurry(request.restoreId)
  const { notice, stats: last } = await over
  assert.equal(notice, 'completed')
  assert.deepEqual(
    last.marks.map(({ name }) => name),
    ['told'],
  )
  assert.deepEqual(await differences(qemu, stored.memory), [])
  signalProcess(server, 'SIGTERM')
  await client.closed
  await waitForExit(server)
})

test('a restore that nobody needs is dropped, and one whose QEMU has died is lost', { skip }, async () => {
  await using guests = new ServedGuests()
  const stored = await guests.checkpoint()
  const client = await guests.server()
  const [dropped, dying] = [await guests.destination(), await guests.destination()]
  const [first, second] = [dropped, dying].map((qemu) => guests.request(stored, qemu, { fill: 'none' }))
  assert.ok(first !== undefined && second !== undefined)
  const stranger = { ...second, qemuProcess: dropped.identity }
  await assert.rejects(client.serve(stranger), { code: 'VMM_FAILED' }, 'another process listens there')
  // Said before there is a guest: it runs as soon as its devices are loaded, and waits for another source from there on.
  await dropped.qmp.execute('cont')
  const running = dropped.qmp.waitEvent('RESUME')
  await client.serve(first)
  await running
  const paused = dropped.qmp.waitEvent('MIGRATION', ({ data }) => data.status === 'postcopy-paused')
  await client.drop(first.restoreId)
  await paused
  await dying.kill()
  const gone = await guests.destination()
  const third = guests.request(stored, gone, { fill: 'none' })
  await client.serve(third)
  const lost = outcome(client, third.restoreId)
  await gone.kill()
  assert.equal((await lost).notice, 'lost')
  assert.deepEqual(
    (await client.list()).map(({ restoreId, stats }) => [restoreId, stats.state]),
    [[third.restoreId, 'lost']],
  )
  await client.drop(third.restoreId)
  assert.deepEqual(await client.list(), [])
})

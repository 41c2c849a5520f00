import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { nodeNames } from '../machine.ts'
import { pageBytes } from '../migration-stream/wire.ts'
import type { QemuProcess } from '../process.ts'
import { counting } from '../testing/counting-firmware.ts'
import { counterPasses, GuestFixture, readCounter, readWord, type TestTemplate } from '../testing/guest-fixture.ts'
import { withoutUserfaultfd as skip } from '../testing/userfaultfd.ts'
import { PageBitmap } from './page-bitmap.ts'
import { type Connection, PostcopySource } from './source.ts'

const zeroPage = Buffer.alloc(pageBytes)

/** A captured guest, page by page. */
class Pages {
  readonly blocks
  readonly #template: TestTemplate

  constructor(template: TestTemplate) {
    this.#template = template
    this.blocks = template.devices.blocks.map(({ name, usedBytes }) => {
      const needed = new PageBitmap(Math.ceil(usedBytes / pageBytes))
      for (let page = 0; page < needed.pageCount; page += 1) if (this.read(name, page) !== undefined) needed.set(page)
      return { name, usedBytes, needed }
    })
  }

  /** undefined for zeros */
  read(block: string, page: number): Buffer | undefined {
    const data = Buffer.alloc(pageBytes)
    if (block === nodeNames.memory) readSync(this.#template.memoryFd, data, 0, pageBytes, page * pageBytes)
    for (const rom of this.#template.roms) {
      const at = page * pageBytes - rom.offsetBytes
      if (rom.block === block && at >= 0 && at < rom.data.length) rom.data.copy(data, 0, at, at + pageBytes)
    }
    return data.equals(zeroPage) ? undefined : data
  }
}

/** A restore that answers what is asked for, and counts. */
function serve(stream: Connection, fixture: GuestFixture, template: TestTemplate, pages: Pages) {
  let faultCount = 0
  const source = new PostcopySource(stream, {
    machine: fixture.machine.machine,
    blocks: pages.blocks,
    deviceBlob: template.devices.blob,
    onRequest: (block, page) => {
      faultCount += 1
      if (!source.isSent(block, page)) source.send([{ block, page, data: pages.read(block, page) }])
    },
  })
  const fill = (most = Number.POSITIVE_INFINITY) => {
    let left = most
    for (const { name } of pages.blocks)
      for (let page = source.nextMissing(name); page !== undefined && left > 0; page = source.nextMissing(name, page)) {
        source.send([{ block: name, page, data: pages.read(name, page) }])
        left -= 1
      }
  }
  return { source, fill, faults: () => faultCount }
}

async function capturedGuest(fixture: GuestFixture): Promise<TestTemplate> {
  const parent = await fixture.start()
  await parent.qmp.execute('cont')
  await counterPasses(parent, 100)
  await parent.qmp.execute('stop')
  return fixture.capture(parent)
}

async function startDestination(fixture: GuestFixture): Promise<{ qemu: QemuProcess; stream: Connection }> {
  const qemu = await fixture.start(fixture.seat({ incoming: true }))
  const capabilities = ['events', 'postcopy-ram'].map((capability) => ({ capability, state: true }))
  await qemu.qmp.execute('migrate-set-capabilities', { capabilities })
  await qemu.qmp.execute('migrate-incoming', { uri: 'fd:3' })
  // Its machines start stopped (-S): said before it is there, this means as soon as it is.
  await qemu.qmp.execute('cont')
  assert.ok(qemu.incoming)
  return { qemu, stream: qemu.incoming }
}

/** A guest that runs on from its capture, though little of its memory has come. */
async function restoredGuest(fixture: GuestFixture) {
  const template = await capturedGuest(fixture)
  const pages = new Pages(template)
  const { qemu, stream } = await startDestination(fixture)
  const running = qemu.qmp.waitEvent('RESUME')
  const restore = serve(stream, fixture, template, pages)
  restore.source.begin()
  await running
  await counterPasses(qemu, template.counter + 10)
  return { qemu, stream, template, pages, restore }
}

/** The guest left a trail of counts in memory, before its capture and after: each is where it belongs. */
async function assertTrail(qemu: QemuProcess, counter: number): Promise<void> {
  for (const count of [counter - 1, counter - 40, counter - 90]) {
    const page = count % counting.trailPages
    assert.equal(await readWord(qemu, counting.trailAddress + page * 4096), count)
  }
}

test('a guest runs before its memory has come, and has all of it at last', { skip }, async () => {
  await using fixture = new GuestFixture()
  const { qemu, template, restore } = await restoredGuest(fixture)
  assert.ok(restore.faults() > 0, 'what it touched was asked for')
  assert.notEqual(restore.source.nextMissing(nodeNames.memory), undefined, 'and much of it has not come yet')
  restore.fill()
  await restore.source.finish()
  await counterPasses(qemu, template.counter + 50)
  await qemu.qmp.execute('stop')
  await assertTrail(qemu, await readCounter(qemu))
  const migration = await qemu.qmp.execute<{ status: string }>('query-migrate')
  assert.equal(migration.status, 'completed')
})

test('a source that dies leaves a guest that another one feeds on', { skip }, async () => {
  await using fixture = new GuestFixture()
  const { qemu, stream, template, pages, restore: first } = await restoredGuest(fixture)
  first.fill(500)
  const paused = qemu.qmp.waitEvent('MIGRATION', ({ data }) => data.status === 'postcopy-paused')
  stream.destroy()
  await paused
  await assert.rejects(first.source.over, { code: 'VMM_FAILED' })
  await qemu.qmp.execute('migrate-recover', { uri: 'unix:recover.sock' }, { oob: true })
  const again = connect(join(qemu.dir, 'recover.sock'))
  await once(again, 'connect')
  const second = serve(again, fixture, template, pages)
  await second.source.takeOver()
  second.fill()
  await second.source.finish()
  await counterPasses(qemu, template.counter + 50)
  await qemu.qmp.execute('stop')
  await assertTrail(qemu, await readCounter(qemu))
})

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmod, copyFile, open, rename, rm, stat, symlink, truncate, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { type ForkError, RametApiError, type Template, type Vm } from '../src/client/index.ts'
import { Host } from './support/host.ts'
import { keepersOf } from './support/leaks.ts'

const MiB = 1024 * 1024
const run = promisify(execFile)

/** Turns one bit of a file over, as a worn disk does. */
async function flipBit(path: string, offset: number): Promise<void> {
  await chmod(path, 0o600)
  const file = await open(path, 'r+')
  const byte = Buffer.alloc(1)
  await file.read(byte, 0, 1, offset)
  await file.write(Buffer.from([byte.readUInt8() ^ 1]), 0, 1, offset)
  await file.close()
}

describe('a base whose content no longer matches its identity', () => {
  let host: Host
  let template: Template
  let other: Template
  let child: Vm

  const fileOf = ({ id }: { id: string }, name: string) => join(host.dataDir, 'templates', id, name)
  const makeTemplate = async (name: string) => {
    const vm = await host.boot({ name: `${name}-parent`, disks: [{ sizeBytes: 16 * MiB }] })
    await vm.commands.run(`yes ${name} | dd of=/dev/vda bs=1M count=4 iflag=fullblock 2>/dev/null; sync`)
    return (await host.ramet.templates.create({ from: 'vm', vm: vm.id, name, armed: 1 })).template
  }

  before(async () => {
    host = await Host.start()
    // One after the other they would wait for their boots.
    ;[template, other] = await Promise.all([makeTemplate('warm'), makeTemplate('other')])
    const [forked] = await template.forkAll({ names: ['child'] })
    assert.ok(forked)
    child = forked
  })
  after(() => host.close())

  /** With a file of a template as `damage` leaves it; afterwards it is as it was. */
  async function damaged(path: string, damage: () => Promise<unknown>, then: () => Promise<void>): Promise<void> {
    const aside = join(host.dataDir, '..', 'aside')
    await copyFile(path, aside)
    const { mode } = await stat(path)
    try {
      await damage()
      await then()
    } finally {
      await rm(path, { force: true })
      await copyFile(aside, path)
      await chmod(path, mode)
      await rm(aside)
    }
  }

  function isRefusal(error: unknown, what: RegExp): error is RametApiError {
    assert.ok(error instanceof RametApiError, String(error))
    assert.equal(error.code, 'BASE_DAMAGED', error.message)
    assert.match(error.message, what)
    assert.match(error.remediation, /ramet template rm warm/)
    return true
  }

  const disks: Record<string, (path: string, spare: string) => Promise<unknown>> = {
    'a flipped bit': (path) => flipBit(path, 5 * 65536 + 17),
    'a cut end': (path) => truncate(path, 3 * MiB),
    'another template’s disk of the same size': async (path, spare) => {
      assert.equal((await stat(path)).size, (await stat(spare)).size)
      await rm(path)
      await copyFile(spare, path)
      await chmod(path, 0o444)
    },
    'a symbolic link': async (path) => {
      await rename(path, `${path}.there`)
      await symlink(`${path}.there`, path)
    },
    'a fifo': async (path) => {
      await rm(path)
      await run('mkfifo', [path])
    },
  }

  for (const [what, damage] of Object.entries(disks)) {
    it(`because its disk is ${what} is refused for forks, starts and templates alike`, async () => {
      const path = fileOf(template, 'disk0.qcow2')
      await damaged(
        path,
        () => damage(path, fileOf(other, 'disk0.qcow2')),
        async () => {
          const named = /disk0\.qcow2 of template warm is damaged/
          await assert.rejects(template.fork({ count: 1 }), (error) => isRefusal(error, named))
          await assert.rejects(child.fork({ count: 1 }), (error) => isRefusal(error, named))
          await assert.rejects(host.ramet.templates.create({ from: 'vm', vm: child.id, name: 'more' }), (error) =>
            isRefusal(error, named),
          )
          const { code, stderr } = await host.cli(['fork', 'warm'])
          assert.equal(code, 1)
          assert.match(stderr, /disk0\.qcow2 of template warm is damaged.*/)
          assert.match(stderr, /ramet template rm warm/)
          // Whom it does not concern goes on.
          assert.equal((await child.commands.run('echo on')).stdout, 'on\n')
        },
      )
      await rm(`${path}.there`, { force: true })
      await removeAll(await template.fork({ names: ['whole'] }))
    })
  }

  it('because only its times have changed is accepted', async () => {
    await utimes(fileOf(template, 'disk0.qcow2'), 1, 1)
    await removeAll(await template.fork({ names: ['touched'] }))
  })

  it('is refused for a stopped vm, which starts once the base is back', async () => {
    await child.stop()
    const path = fileOf(template, 'disk0.qcow2')
    await damaged(
      path,
      () => flipBit(path, 5 * 65536),
      () => assert.rejects(child.start(), (error) => isRefusal(error, /disk0\.qcow2 of template warm is damaged/)),
    )
    await child.start()
    assert.equal((await child.commands.run('head -c 5 /dev/vda')).stdout, 'warm\n')
  })

  const memories: Record<string, [file: string, (path: string, spare: string) => Promise<unknown>]> = {
    'a flipped bit': ['memory.base', (path) => flipBit(path, 17 * MiB)],
    'another template’s': ['memory.base.json', async (path, spare) => rm(path).then(() => copyFile(spare, path))],
  }

  for (const [what, [file, damage]] of Object.entries(memories)) {
    it(`because its memory on disk is ${what} is refused when it is loaded again`, async () => {
      // The children that are left map what they map; only a new load can meet the damage.
      const path = fileOf(template, file)
      await host.daemon.stop()
      for (const pid of keepersOf(host.dataDir)) process.kill(pid, 'SIGKILL')
      await damaged(
        path,
        () => damage(path, fileOf(other, file)),
        async () => {
          await host.restart()
          await assert.rejects(template.fork({ count: 1 }), (error) =>
            isRefusal(error, /the memory of template warm is damaged/),
          )
        },
      )
      await removeAll(await template.fork({ names: ['loaded'] }))
    })
  }

  it('leaves nothing of what was refused', async () => {
    // Processes and files are looked at when the host is closed.
    assert.deepEqual(
      (await host.ramet.vms.list()).map(({ name }) => name),
      ['child'],
    )
    assert.deepEqual((await host.ramet.templates.list()).map(({ name }) => name).sort(), ['other', 'warm'])
  })
})

async function removeAll(results: readonly (Vm | ForkError)[]): Promise<void> {
  for (const result of results) {
    if (result instanceof Error) throw result
    await result.remove({ force: true })
  }
}

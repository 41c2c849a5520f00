import assert from 'node:assert/strict'
import { chmod, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { initrdFile } from '../guest/image/manifest.ts'
import { RametApiError } from '../src/client/index.ts'
import { agentOfVersion, replaceInit } from './support/altered-image.ts'
import { Host } from './support/host.ts'
import { processesOf } from './support/leaks.ts'

describe('an image that is not as it should be', () => {
  let host: Host
  let parentDir = ''
  let imageDir = ''

  before(async () => {
    parentDir = await mkdtemp(join(tmpdir(), 'ramet-test-'))
    await chmod(parentDir, 0o711)
    // Images of its own, since they are about to be damaged.
    const imagesDir = join(parentDir, 'images')
    host = await Host.start({ parentDir, environment: { RAMET_IMAGES_DIR: imagesDir } })
    imageDir = join(imagesDir, (await host.ramet.images.get('micro')).id)
  })
  after(async () => {
    await host.close()
    await rm(parentDir, { recursive: true, force: true })
  })

  /**
   * With an image as it is now, and as it was afterwards.
   *
   * @param known whether the image is known by then, which makes its alteration damage; else it is what it is
   */
  async function altered(known: boolean, alter: () => Promise<void>, run: () => Promise<void>): Promise<void> {
    const names = [initrdFile, 'manifest.json']
    const whole = await Promise.all(names.map((name) => readFile(join(imageDir, name))))
    if (!known) await host.ramet.images.remove('micro')
    await alter()
    await host.restart()
    if (!known) await host.ramet.images.build({ recipe: 'micro' })
    try {
      await run()
    } finally {
      if (!known) await host.ramet.images.remove('micro')
      for (const [index, name] of names.entries()) await writeFile(join(imageDir, name), whole[index] ?? '')
      await host.restart()
      if (!known) await host.ramet.images.build({ recipe: 'micro' })
    }
  }

  function assertNothingRuns(): void {
    const rest = processesOf(host.dataDir).filter((line) => !line.startsWith(`process ${host.daemon.pid} `))
    assert.deepEqual(rest, [])
  }

  it('because its file was cut is refused before anything is made', async () => {
    await altered(
      true,
      () => truncate(join(imageDir, initrdFile), 100_000),
      async () => {
        await assert.rejects(
          host.boot({ name: 'cut' }),
          (error) =>
            error instanceof RametApiError &&
            error.code === 'BASE_DAMAGED' &&
            error.message.includes('initrd') &&
            error.remediation.includes('ramet image rm'),
        )
        assert.equal(await host.gone('cut'), true)
        const { code, stderr } = await host.cli(['run', 'micro', '--name', 'cut', '--', 'true'])
        assert.equal(code, 1)
        assert.match(stderr, /damaged/)
        assertNothingRuns()
      },
    )
  })

  it('because one bit of it has flipped is refused by name, as soon as it has', async () => {
    const vm = await host.boot({ name: 'before' })
    const path = join(imageDir, initrdFile)
    await altered(
      true,
      async () => {
        const bytes = await readFile(path)
        bytes.writeUInt8(bytes.readUInt8(100_000) ^ 1, 100_000)
        await writeFile(path, bytes)
        await assert.rejects(host.boot({ name: 'flipped' }), { code: 'BASE_DAMAGED' })
      },
      async () => {
        await assert.rejects(
          host.boot({ name: 'flipped-again' }),
          (error) =>
            error instanceof RametApiError &&
            error.code === 'BASE_DAMAGED' &&
            error.message === 'initrd of image micro:latest is damaged: its content has changed' &&
            error.remediation.includes('ramet image rm micro:latest'),
        )
        await assert.rejects(vm.fork({ count: 1 }), { code: 'BASE_DAMAGED' })
      },
    )
    await vm.forkAll({ names: ['after'] })
    await host.clearVms()
  })

  it('because its first program ends gives the panic, with the console', async () => {
    await altered(
      false,
      () => replaceInit(imageDir, Buffer.from('#!/bin/sh\necho broken on purpose\nexit 3\n')),
      async () => {
        await assert.rejects(
          host.boot({ name: 'broken' }),
          (error) =>
            error instanceof RametApiError &&
            error.code === 'GUEST_PANIC' &&
            /broken on purpose.*Attempted to kill init/.test(JSON.stringify(error.details.consoleLines)),
        )
        const vm = await host.ramet.vms.get('broken')
        assert.equal(vm.state, 'failed')
        assert.equal(vm.info.failure?.reason, 'guest-panic')
        assertNothingRuns()
        const { code, stderr } = await host.cli(['start', 'broken'])
        assert.equal(code, 1)
        assert.match(stderr, /broken on purpose/)
        await vm.remove()
      },
    )
  })

  it('because its agent speaks a protocol of the future is named as such', async () => {
    const agent = await agentOfVersion(9)
    await altered(
      false,
      () => replaceInit(imageDir, agent),
      async () => {
        await assert.rejects(
          host.boot({ name: 'future' }),
          (error) => error instanceof RametApiError && error.code === 'AGENT_PROTOCOL' && /\b9\b/.test(error.message),
        )
        assertNothingRuns()
        await (await host.ramet.vms.get('future')).remove()
      },
    )
  })

  it('is not imported when it is no image at all', async () => {
    for (const [name, bytes] of Object.entries({
      empty: Buffer.alloc(0),
      noise: Buffer.from('no file system'.repeat(999)),
    })) {
      await assert.rejects(host.ramet.images.import(bytes, { name }), { code: 'IMAGE_INVALID' }, name)
    }
    assert.deepEqual(
      (await host.ramet.images.list()).map(({ name }) => name),
      ['micro'],
    )
  })

  it('is not removed while a vm stands on it', async () => {
    const vm = await host.boot({ name: 'standing', start: false })
    await assert.rejects(host.ramet.images.remove('micro'), { code: 'IN_USE', message: /standing/ })
    await vm.remove()
  })
})

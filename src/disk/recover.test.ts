import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { isRametError } from '../shared/errors.ts'
import { openChain } from './chain.ts'
import { decodeHeader } from './qcow2/header.ts'
import { removeDisk, repairDisk } from './recover.ts'
import { sealDelta, unsealDisk } from './seal.ts'
import { deltaOver, qemuImg, qemuIo, sealedImage, withHome } from './test-disks.ts'

test('a disk and what is left of its making are removed, once or twice', () =>
  withHome(async (home) => {
    const path = await deltaOver(home, await sealedImage(home))
    await writeFile(`${path}.tmp`, 'half')
    await removeDisk(path)
    await removeDisk(path)
    assert.deepEqual(await readdir(dirname(path)), [])
    await removeDisk(join(home.directory, 'vms', 'gone', 'disk0.qcow2'))
  }))

test('leaked clusters are given back, content stays; real damage is told', () =>
  withHome(async (home) => {
    const path = await deltaOver(home, await sealedImage(home))
    await qemuIo(path, ['write -P 5 0 1M'])
    const file = await readFile(path)
    const { l1Offset } = decodeHeader(file, file.length)
    const tableOffset = Number(file.readBigUInt64BE(l1Offset) & 0x00fffffffffffe00n)
    const handle = await open(path, 'r+')
    // as if QEMU had died between allocating cluster 15 and linking it
    await handle.write(Buffer.alloc(8), 0, 8, tableOffset + 15 * 8)
    await handle.sync()
    await assert.rejects(qemuImg('check', '-q', path))
    const chain = await repairDisk(path, home.roots)
    assert.equal(chain.layers.length, 2)
    await qemuImg('check', '-q', path)
    await qemuIo(path, [`read -P 5 0 ${15 * 64}k`, `read -P 1 ${15 * 64}k 64k`])

    // two parts of the disk in one cluster
    const entry = Buffer.from(file.subarray(tableOffset, tableOffset + 8))
    await handle.write(entry, 0, 8, tableOffset + 8)
    await handle.close()
    await assert.rejects(repairDisk(path, home.roots), (error) => isRametError(error, 'IMAGE_INVALID'))
  }))

const killedMaker = `
  import { cloneDisk } from '${import.meta.resolve('./clone.ts')}'
  import { sealDelta } from '${import.meta.resolve('./seal.ts')}'
  const [what, from, to] = process.argv.slice(1)
  if (what === 'clone')
    await cloneDisk({ from, to, reflink: false, onProgress: () => process.kill(process.pid, 'SIGKILL') })
  else await sealDelta(from, to, 'base-aaaaaaaaaaaa')
`

async function runKilled(args: string[], fault = ''): Promise<void> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', killedMaker, ...args], {
    stdio: 'inherit',
    env: { ...process.env, RAMET_FAULT: fault },
  })
  const [, signal] = await once(child, 'exit')
  assert.equal(signal, 'SIGKILL')
}

test('a copy that is killed has no file under its name', () =>
  withHome(async (home) => {
    const from = await deltaOver(home, await sealedImage(home))
    await qemuIo(from, ['write -P 5 0 20M'])
    const to = await home.path('vms', 'vm-b')
    await runKilled(['clone', from, to])
    assert.deepEqual(await readdir(dirname(to)), ['disk0.qcow2.tmp'])
    await removeDisk(to)
    assert.deepEqual(await readdir(dirname(to)), [])
  }))

for (const point of ['disk.seal.moved', 'disk.seal.header'])
  test(`a sealing killed at ${point} is finished, or undone`, () =>
    withHome(async (home) => {
      const from = await deltaOver(home, await sealedImage(home))
      await qemuIo(from, ['write -P 5 0 1M'])
      const to = await home.path('templates', 'tpl-a')
      await runKilled(['seal', from, to], `${point}=kill`)
      await unsealDisk(to, from)
      await qemuIo(from, ['read -P 5 0 1M', 'write -P 6 1M 1M'])
      await runKilled(['seal', from, to], `${point}=kill`)
      await sealDelta(from, to, 'base-aaaaaaaaaaaa')
      const child = await deltaOver(home, (await openChain(to, home.roots)).layers[0], 'vm-b')
      await qemuIo(child, ['read -P 5 0 1M', 'read -P 6 1M 1M'])
    }))

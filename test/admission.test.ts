import assert from 'node:assert/strict'
import { rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, describe, it } from 'node:test'
import type { HostStats, Snapshot, Vm } from '../src/client/index.ts'
import { Host } from './support/host.ts'

const MiB = 1024 * 1024

describe('memory that is held and free at once, and starts that are admitted by it', () => {
  let host: Host
  let web: Vm
  let snapshot: Snapshot

  before(async () => {
    host = await Host.start()
    web = await host.boot({ name: 'web', memoryBytes: 128 * MiB })
    await web.commands.run('dd if=/dev/urandom of=/tmp/ballast bs=1M count=20 2>/dev/null')
    snapshot = await web.snapshot({ name: 'saved' })
  })
  after(() => host.close())

  async function hostStats(): Promise<HostStats> {
    const shown = await host.cli(['stats', '--host', '-o', 'json'])
    assert.deepEqual([shown.code, shown.stderr], [0, ''])
    return JSON.parse(shown.stdout)
  }

  /** Value of a metric, its labels as they are written. */
  async function metric(name: string): Promise<number> {
    const answer = Promise.withResolvers<string>()
    const call = request({ socketPath: join(host.dataDir, 'ramet.sock'), path: '/metrics' })
    call.once('error', answer.reject)
    call.once('response', (response) => text(response).then(answer.resolve, answer.reject))
    call.end()
    const line = (await answer.promise).split('\n').find((each) => each.startsWith(`${name} `))
    assert.ok(line !== undefined, `there is a metric ${name}`)
    return Number(line.slice(name.length))
  }

  async function restoreWhole(name: string): Promise<void> {
    const [vm] = await snapshot.restore({ into: 'new', names: [name], mode: 'lazy' })
    assert.ok(vm !== undefined && !(vm instanceof Error), String(vm))
    await host.until('its memory has come', async () => (await vm.refresh()).restore?.state === 'done')
  }

  it('shows the host, and no cache while no page server runs', async () => {
    const { memory, cache } = await hostStats()
    assert.equal(cache, undefined)
    assert.equal(memory.promisedBytes, 0)
    const { availableBytes, freeBytes, reserveBytes, startableBytes, totalBytes } = memory
    assert.equal(startableBytes, availableBytes - reserveBytes)
    assert.ok(totalBytes >= availableBytes && availableBytes >= freeBytes && reserveBytes >= 256 * MiB)
    assert.equal(await metric('cache_held_bytes'), 0)
  })

  it('shows what is held after a restore, and that the next one finds it', async () => {
    await restoreWhole('one')
    const { cache: first } = await hostStats()
    assert.ok(first !== undefined)
    assert.ok(first.heldBytes > 20 * MiB, `${first.heldBytes} bytes are held`)
    assert.equal(first.freeHeldBytes, first.kind === 'lru' ? 0 : first.heldBytes)
    if (first.kind === 'kernel') assert.ok((first.lazyFreeBytes ?? 0) > 0)
    await restoreWhole('two')
    const { cache: second, memory } = await hostStats()
    assert.ok(second !== undefined)
    const hits = second.hits - first.hits
    const missed = second.misses + second.lost - first.misses - first.lost
    assert.ok(hits > 0 && hits > missed, `${hits} hits, ${missed} misses`)
    assert.equal(second.servedFromHeldCount, second.lost + second.replaced)
    assert.equal(memory.promisedBytes, 0)
    const { stdout } = await host.cli(['stats'])
    assert.match(stdout, /^NAME[\s\S]+\nweb [\s\S]+\nHOST[\s\S]+\nfor new vms +\d[\s\S]+\n\nCACHE +\w/)
    for (const line of [/^held +\d/m, /^free but held +\d/m, /^hits +\d+ \(\d+%\)/m, /^misses +\d/m])
      assert.match(stdout, line)
    for (const line of [/^misses by reclaim +\d/m, /^served from held +\d/m]) assert.match(stdout, line)
    assert.equal(await metric('cache_hits_total'), second.hits)
    assert.equal(await metric('cache_held_bytes'), second.heldBytes)
    assert.equal(await metric('cache_misses_total{reason="taken"}'), second.lost)
  })

  it('refuses what does not fit, says what helps, and starts it when there is room', async () => {
    const template = await host.template('warm')
    await web.pause({ toDisk: true })
    const settings = join(host.dataDir, 'ramet.toml')
    await writeFile(settings, 'memory_reserve_mib = 1048576\n')
    await host.restart()
    const refusals = [
      ['start a vm', ['run', 'micro', '--name', 'late']],
      ['fork a template', ['fork', 'warm', '--name', 'child']],
      ['fork a vm', ['fork', 'one', '--name', 'child']],
      ['resume from disk', ['resume', 'web']],
      ['restore a snapshot', ['snapshot', 'restore', 'saved', '--as', 'three']],
    ] as const
    for (const [what, args] of refusals) {
      const { code, stderr } = await host.cli(args)
      assert.notEqual(code, 0, what)
      assert.match(stderr, /needs \d.* 1 TiB stay free, which leaves 0 B/, what)
      assert.match(stderr, /pause --to-disk[\s\S]+memory_reserve_mib/, what)
    }
    assert.ok((await metric('starts_refused_total')) >= refusals.length)
    const names = (await host.ramet.vms.list()).map(({ name, state }) => `${name} ${state}`)
    assert.deepEqual(names.sort(), ['one running', 'two running', 'web suspended'])
    // It was running, and there is no way back for it.
    const { kept } = await host.ramet.templates.create({ from: 'vm', vm: 'one', name: 'of-one', keep: true })
    assert.equal(kept?.state, 'running')
    await rm(settings)
    await host.restart()
    await web.resume()
    const [child] = await template.forkAll({ names: ['child'] })
    assert.equal(child?.state, 'running')
  })
})

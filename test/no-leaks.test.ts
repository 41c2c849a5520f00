import assert from 'node:assert/strict'
import process from 'node:process'
import { it } from 'node:test'
import { type Host, withHost } from './support/host.ts'
import { namesIn, processesOf } from './support/leaks.ts'

/** How often; the campaign does it a hundred times. */
const rounds = process.env.RAMET_CAMPAIGN === '1' ? 10 : 4
const together = 10

interface Footprint {
  processes: number
  descriptors: number
  files: number
}

it(`${rounds * together} forks and removals leave as many processes, descriptors and files as there were`, async () => {
  await withHost({}, async (host) => {
    const template = await host.template('again', async () => {}, { armed: 2 })
    // Once before counting: what is loaded at first use stays.
    await round(host, template.name)
    const before = await footprint(host)
    for (let count = 0; count < rounds; count += 1) await round(host, template.name)
    assert.deepEqual(await footprint(host), before)
  })
})

async function round(host: Host, template: string): Promise<void> {
  const found = await host.ramet.templates.get(template)
  const children = await found.forkAll({ count: together })
  await Promise.all(children.map((child) => child.commands.run('true')))
  await Promise.all(children.map((child) => child.remove()))
}

/** Once the armed children are there again, and idle connections have closed. */
// Idle connections close by a timer of their own, of which nobody is told: so this looks every second.
async function footprint(host: Host): Promise<Footprint> {
  const measure = (): Footprint => ({
    processes: processesOf(host.dataDir).length,
    descriptors: namesIn(`/proc/${host.daemon.pid}/fd`).length,
    files: ['vms', 'templates', 'consoles', 'images'].reduce(
      (sum, name) => sum + namesIn(`${host.dataDir}/${name}`).length,
      namesIn(host.dataDir).length,
    ),
  })
  let last = measure()
  let same = 0
  await host.until('the footprint is at rest', async () => {
    const template = await host.ramet.templates.get('again')
    await new Promise((resolve) => setTimeout(resolve, 1000))
    const next = measure()
    same = JSON.stringify(next) === JSON.stringify(last) && template.info.armedCount === 2 ? same + 1 : 0
    last = next
    return same >= 2
  })
  return last
}

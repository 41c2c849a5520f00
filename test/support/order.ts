import assert from 'node:assert/strict'
import type { Host } from './host.ts'
import { keepersOf, namesIn, processesOf } from './leaks.ts'

/**
 * Fails unless what is on the host is exactly what the daemon knows of: a QEMU for each vm that runs, a directory for
 * each vm, snapshot and template, a keeper for each resident template.
 */
export async function assertInOrder(host: Host, when: string): Promise<void> {
  // Armed children come and go by themselves; tests of order use templates without.
  const vms = await host.ramet.vms.list()
  const templates = await host.ramet.templates.list()
  const snapshots = await host.ramet.snapshots.list()
  const expectedPids = [
    host.daemon.pid,
    ...vms.flatMap((vm) => (vm.info.pid === undefined ? [] : [vm.info.pid])),
    ...keepersOf(host.dataDir),
  ]
  const strangers = processesOf(host.dataDir).filter((line) => !expectedPids.includes(Number(line.split(' ')[1])))
  // A page server ends by itself when it has had nothing to do for a while.
  const [pageServers, others] = [strangers.filter(isPageServer), strangers.filter((line) => !isPageServer(line))]
  assert.deepEqual(others, [], `${when}: processes that nobody owns`)
  assert.ok(pageServers.length <= 1, `${when}: ${pageServers.length} page servers`)
  const resident = templates.filter((template) => template.info.resident).length
  assert.equal(keepersOf(host.dataDir).length, resident, `${when}: keepers for ${resident} resident templates`)
  const ids = (things: readonly { id: string }[]) => things.map(({ id }) => id).sort()
  assert.deepEqual(namesIn(`${host.dataDir}/vms`).sort(), ids(vms), `${when}: directories of vms`)
  assert.deepEqual(namesIn(`${host.dataDir}/templates`).sort(), ids(templates), `${when}: directories of templates`)
  assert.deepEqual(namesIn(`${host.dataDir}/snapshots`).sort(), ids(snapshots), `${when}: directories of snapshots`)
}

const isPageServer = (line: string) => line.includes('/checkpoint/serve/main.ts')

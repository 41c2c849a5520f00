import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DoctorReport, HostInfo, Version } from '../api/host.ts'
import type { HostStats } from '../api/host-stats.ts'
import type { VmLayers } from '../api/layers.ts'
import type { VmStats } from '../api/stats.ts'
import type { Tree } from '../api/tree.ts'
import { Harness } from './testing/harness.ts'

const MiB = 1024 * 1024

test('metrics say what the engine says, in seconds and bytes', async () => {
  await using harness = await Harness.start()
  await harness.call('POST', '/v1/vms', { body: { image: 'micro', name: 'web' } })
  harness.engine.measure({ kind: 'fork-stage', stage: 'load', ms: 3 })
  harness.engine.measure({ kind: 'source-pause', ms: 11 })
  const { bytes, headers } = await harness.call('GET', '/metrics')
  assert.match(headers['content-type'] ?? '', /^text\/plain/)
  for (const line of [
    'vms{state="running"} 1',
    'vms{state="paused"} 0',
    'fork_duration_seconds_sum{stage="load"} 0.003',
    'source_pause_seconds_count 1',
    `vm_private_bytes ${4 * 1024 * 1024}`,
    'orphans_reaped_total{kind="process"} 2',
    'disk_chain_depth 2',
    `host_available_bytes ${768 * MiB}`,
    `host_startable_bytes ${512 * MiB}`,
    'starts_refused_total 1',
    `cache_held_bytes ${96 * MiB}`,
    `cache_lazy_free_bytes ${80 * MiB}`,
    'cache_hit_ratio 0.9',
    'cache_hits_total 90',
    'cache_misses_total{reason="absent"} 8',
    'cache_misses_total{reason="taken"} 2',
    'cache_served_from_held_total 7',
    `cache_gave_back_bytes_total ${16 * MiB}`,
    'http_request_duration_seconds_count{operation="createVm",status="201"} 1',
  ])
    assert.ok(bytes.toString().includes(`${line}\n`), line)
  const again = await harness.call('GET', '/metrics')
  for (const line of [
    'orphans_reaped_total{kind="process"} 2',
    'cache_misses_total{reason="taken"} 2',
    'cache_hits_total 90',
  ])
    assert.ok(again.bytes.toString().includes(`${line}\n`), `${line}: a counter is not doubled`)
})

test('restores are summed, and what they used of what was sent ahead is estimated by the sample of each', async () => {
  await using harness = await Harness.start()
  const samples: [prefetched: number, sampled: number, used: number][] = [
    [1000, 40, 30],
    // Too few to tell anything of it alone.
    [300, 3, 1],
    [10, 0, 0],
  ]
  for (const [prefetchedPages, prefetchSampledPages, prefetchSampledUsedPages] of samples)
    harness.engine.measure({
      kind: 'restore',
      outcome: 'completed',
      figures: {
        ...{
          elapsedMs: 1,
          demandFaults: 5,
          zeroFaults: 1,
          sentPages: 20,
          neededPages: 20,
          sentBytes: 4096,
          readBytes: 1,
        },
        ...{ blocksRead: 1, blockHits: 1, stallMs: 2, stallP50Ms: 1, stallP99Ms: 2 },
        ...{ prefetchedPages, prefetchSampledPages, prefetchSampledUsedPages },
      },
    })
  harness.engine.measure({ kind: 'restore', outcome: 'ended' })
  const text = (await harness.call('GET', '/metrics')).bytes.toString()
  for (const line of [
    'restores_total{outcome="completed"} 3',
    'restores_total{outcome="ended"} 1',
    'restore_demand_faults_total 15',
    'restore_prefetched_pages_total 1310',
    'restore_prefetched_used_pages_total 850',
    'restore_prefetch_sampled_pages_total 43',
    'restore_prefetch_sampled_used_pages_total 31',
  ])
    assert.ok(text.includes(`${line}\n`), line)
})

test('host, doctor, tree, stats and version', async () => {
  await using harness = await Harness.start()
  await harness.call('POST', '/v1/vms', { body: { image: 'micro', name: 'web' } })
  assert.equal((await harness.call('GET', '/v1/host')).json<HostInfo>().cpus, 2)
  assert.equal((await harness.call('GET', '/v1/host/stats')).json<HostStats>().cache?.lost, 2)
  assert.equal((await harness.call('GET', '/v1/host/doctor')).json<DoctorReport>().usable, true)
  assert.equal((await harness.call('GET', '/v1/tree')).json<Tree>().nodes.length, 1)
  assert.equal((await harness.call('GET', '/v1/vms/web/stats')).json<VmStats>().disk.chainDepth, 2)
  assert.equal((await harness.call('GET', '/v1/vms/web/layers')).json<VmLayers>().memory[0]?.owner.name, 'web')
  assert.match((await harness.call('GET', '/version')).json<Version>().version, /^\d+\.\d+\.\d+/)
})

test('ports are published, listed and taken back', async () => {
  await using harness = await Harness.start()
  await harness.call('POST', '/v1/vms', { body: { image: 'micro', name: 'web' } })
  const published = await harness.call('POST', '/v1/vms/web/ports', { body: { guestPort: 80 } })
  assert.deepEqual(published.json(), { guestPort: 80, hostPort: 40_000, hostAddress: '127.0.0.1' })
  assert.deepEqual((await harness.call('GET', '/v1/vms/web/ports')).json(), { items: [published.json()] })
  assert.equal((await harness.call('DELETE', '/v1/vms/web/ports/80')).status, 204)
  assert.equal((await harness.call('DELETE', '/v1/vms/web/ports/80')).problem().code, 'NOT_FOUND')
  assert.match((await harness.call('DELETE', '/v1/vms/web/ports/x')).problem().detail, /path\.guestPort/)
})

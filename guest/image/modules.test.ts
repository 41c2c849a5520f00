import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { moduleLoadOrder, moduleName } from './modules.ts'

const dep = [
  'kernel/virtio/virtio.ko:',
  'kernel/virtio/virtio_ring.ko:',
  'kernel/virtio/virtio_pci.ko: kernel/virtio/virtio_ring.ko kernel/virtio/virtio.ko',
  'kernel/char/virtio-rng.ko.xz: kernel/virtio/virtio_ring.ko kernel/virtio/virtio.ko',
  'kernel/net/virtio_net.ko: kernel/net/net_failover.ko kernel/net/failover.ko kernel/virtio/virtio.ko',
  'kernel/net/net_failover.ko: kernel/net/failover.ko',
  'kernel/net/failover.ko:',
].join('\n')
const builtin = 'kernel/fs/ext4/ext4.ko\nkernel/net/packet/af_packet.ko\n'

test('dependencies load first, each module once', () => {
  const wanted = [{ name: 'virtio_net' }, { name: 'virtio_pci' }, { name: 'virtio_rng' }]
  assert.deepEqual(moduleLoadOrder(wanted, { dep, builtin }), [
    'kernel/net/failover.ko',
    'kernel/net/net_failover.ko',
    'kernel/virtio/virtio.ko',
    'kernel/net/virtio_net.ko',
    'kernel/virtio/virtio_ring.ko',
    'kernel/virtio/virtio_pci.ko',
    'kernel/char/virtio-rng.ko.xz',
  ])
})

test('what is built in is not loaded; what may be missing may be', () => {
  const wanted = [{ name: 'ext4' }, { name: 'af_packet' }, { name: 'vmgenid', optional: true as const }]
  assert.deepEqual(moduleLoadOrder(wanted, { dep, builtin }), [])
})

test('a module that must be there and is not has its name in the error', () => {
  assert.throws(() => moduleLoadOrder([{ name: 'virtio_blk' }], { dep, builtin }), {
    code: 'IMAGE_BUILD_FAILED',
    message: /virtio_blk/,
  })
})

test('modules that need each other are an error, not a loop', () => {
  const circle = 'a.ko: b.ko\nb.ko: a.ko\n'
  assert.throws(() => moduleLoadOrder([{ name: 'a' }], { dep: circle, builtin: '' }), /depends on itself/)
})

test('whatever the graph, a dependency comes before who needs it', () => {
  const graph = fc.array(fc.array(fc.nat(20), { maxLength: 4 }), { minLength: 1, maxLength: 20 })
  fc.assert(
    fc.property(graph, (edges) => {
      // A module needs lower numbers only, so there are no circles.
      const needs = edges.map((list, index) => list.filter((other) => other < index))
      const text = needs.map((list, index) => `m${index}.ko: ${list.map((n) => `m${n}.ko`).join(' ')}`).join('\n')
      const wanted = needs.map((_, index) => ({ name: `m${needs.length - 1 - index}` }))
      const order = moduleLoadOrder(wanted, { dep: text, builtin: '' })
      assert.equal(new Set(order).size, needs.length)
      for (const [index, list] of needs.entries()) {
        for (const needed of list) assert.ok(order.indexOf(`m${needed}.ko`) < order.indexOf(`m${index}.ko`))
      }
    }),
  )
})

test('a module’s name does not depend on how its file is packed', () => {
  assert.equal(moduleName('kernel/char/virtio-rng.ko.xz'), 'virtio_rng')
  assert.equal(moduleName('virtio_rng.ko'), 'virtio_rng')
})

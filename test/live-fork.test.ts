import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { ForkError, type Vm } from '../src/client/index.ts'
import { Host } from './support/host.ts'
import { buildSums, type Sums } from './support/sums.ts'

let host: Host
let parent: Vm
let sums: Sums

/** Fills guest memory and the disk with something that no child can have by chance. */
async function mark(vm: Vm, word: string): Promise<void> {
  await vm.commands.run(`echo ${word} > /tmp/mark; dd if=/dev/urandom of=/tmp/ballast bs=1M count=8 2>/dev/null`)
  await vm.commands.run(`echo ${word} | dd of=/dev/vda bs=4096 seek=7 conv=sync 2>/dev/null; sync`)
}

async function sumsOf(vm: Vm): Promise<string> {
  return (await vm.files.read('/tmp/mark')) + (await sums(vm, '/tmp/ballast', '/dev/vda'))
}

function childrenOf(results: readonly (Vm | ForkError)[]): Vm[] {
  for (const result of results) if (result instanceof ForkError) throw result
  return results.filter((result): result is Vm => !(result instanceof ForkError))
}

before(async () => {
  sums = await buildSums()
  host = await Host.start()
  parent = await host.ramet.vms.create({ name: 'parent', image: 'micro', disks: [{ sizeBytes: 64 * 1024 * 1024 }] })
  await parent.commands.run('dd if=/dev/urandom of=/dev/vda bs=1M count=16 2>/dev/null; sync')
})

after(() => host.close())

test('children of a running vm have its memory and its disk of one moment, and it runs on', async () => {
  await mark(parent, 'first')
  const expected = await sumsOf(parent)
  const children = childrenOf(await parent.fork({ count: 3, namePrefix: 'child' }))
  for (const child of children) assert.equal(await sumsOf(child), expected)
  await mark(parent, 'second')
  assert.notEqual(await sumsOf(parent), expected)
  for (const child of children) assert.equal(await sumsOf(child), expected, 'the parent writes for itself alone')
})

test('what is open in the parent stays open over ten forks of it', async () => {
  const program = 'while read line; do echo "$line!"; done'
  const running = await parent.commands.run(program, { background: true, stdin: true })
  const lines: string[] = []
  const terminal = await parent.pty.create({ cols: 80, rows: 24, onData: (data) => void lines.push(data.toString()) })
  for (let round = 0; round < 10; round += 1) {
    const [child] = childrenOf(await parent.fork({ count: 1, namePrefix: `round-${round}` }))
    await child?.remove({ force: true })
    await running.sendStdin(`line ${round}\n`)
  }
  await running.closeStdin()
  const { stdout } = await running.wait()
  assert.equal(stdout, Array.from({ length: 10 }, (_, round) => `line ${round}!\n`).join(''))
  await terminal.kill()
})

test('a fork of a fork of a fork owes nothing to those before it', async () => {
  let vm = parent
  const made: Vm[] = []
  for (let generation = 0; generation < 3; generation += 1) {
    await mark(vm, `generation-${generation}`)
    const [child] = childrenOf(await vm.fork({ count: 1, namePrefix: `g${generation}` }))
    assert.ok(child)
    assert.equal(await sumsOf(child), await sumsOf(vm))
    made.push(child)
    vm = child
  }
  const expected = await sumsOf(vm)
  for (const ancestor of made.slice(0, -1)) await ancestor.remove({ force: true })
  assert.equal(await sumsOf(vm), expected)
  const { disk } = await vm.stats()
  assert.ok(disk.chainDepth <= 2, `the chain has depth ${disk.chainDepth}`)
  assert.equal((await vm.refresh()).depth, 3)
})

test('a vm that is paused is not forked, and the refusal says so', async () => {
  const vm = await host.ramet.vms.get('parent')
  await vm.pause()
  await assert.rejects(vm.fork({ count: 1 }), (error: { code?: string }) => error.code === 'ILLEGAL_STATE')
  await vm.resume()
})

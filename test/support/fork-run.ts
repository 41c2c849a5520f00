import assert from 'node:assert/strict'
import { setTimeout as after } from 'node:timers/promises'
import { ForkError, RametApiError, Vm } from '../../src/client/index.ts'
import { diskSizes, ForkModel, type ModelVm, Sheet, type Write } from './fork-model.ts'
import { apply, type Step, stepsOf } from './fork-steps.ts'
import type { Host } from './host.ts'
import { installScribe, read, write } from './scribe.ts'

/** Files of a chain, the base included: at any moment, and once nothing is under way. */
const depthMax = { ever: 4, atRest: 2 }
const differenceMaxCount = 8

export interface ForkRunOptions {
  host: Host
  scribe: Buffer
  seed: number
  stepCount: number
  /** told each step before it is done */
  onStep?: (line: string) => void
}

/** Does the steps of a seed on real vms, and compares what they hold with what they must. Leaves no vm. */
export async function runSeed(options: ForkRunOptions): Promise<void> {
  const run = new ForkRun(options)
  const trace: string[] = []
  const tell = (line: string) => {
    trace.push(line)
    options.onStep?.(line)
  }
  try {
    await run.begin()
    for (const [index, step] of stepsOf(options.seed, options.stepCount).entries()) {
      tell(`${index + 1} ${describe(step)}`)
      await run.do(step)
    }
    tell('all')
    await run.verifyAll()
    await options.host.clear()
  } catch (error) {
    // For the next seed; what keeps it from being cleared is told by that one, or by the check for leaks.
    await options.host.clear().catch(() => undefined)
    const replay = `RAMET_SEED=${options.seed} RAMET_STEPS=${options.stepCount} node --test test/fork-property.test.ts`
    throw new Error(`seed ${options.seed} failed; the same again: ${replay}\n${trace.join('\n')}\n${reason(error)}`, {
      cause: error,
    })
  }
}

function reason(error: unknown): string {
  if (error instanceof RametApiError) return JSON.stringify(error.problem)
  return error instanceof Error ? error.message : String(error)
}

/** A step as one line. */
function describe({ kind, ...rest }: Step): string {
  const { writes, ...names } = { writes: [], ...rest }
  const ranges = writes.map(({ where, way, index, count, number, stride = 1 }: Write) => {
    const last = index + count * stride - 1
    return `${where === 'memory' ? 'pages' : `disk ${where}`} ${index}-${last} ${way === 'write' ? number : way}`
  })
  const words = Object.entries(names).map(([name, value]) => `${name}=${value}`)
  return [kind, ...words, ...(ranges.length > 0 ? [`(${ranges.join(', ')})`] : [])].join(' ')
}

class ForkRun {
  readonly #host: Host
  readonly #scribe: Buffer
  readonly #model = new ForkModel()

  constructor({ host, scribe }: ForkRunOptions) {
    this.#host = host
    this.#scribe = scribe
  }

  async begin(): Promise<void> {
    const disks = diskSizes.map((sizeBytes) => ({ sizeBytes }))
    const vm = await this.#host.boot({ name: 'v0', disks })
    await installScribe(vm, this.#scribe)
    this.#model.boot('v0')
  }

  async do(step: Step): Promise<void> {
    if (step.kind === 'verify') return await this.#verify(this.#model.find(step.vm))
    await this.#act(step)
    apply(this.#model, step)
  }

  async verifyAll(): Promise<void> {
    const names = (await this.#host.ramet.vms.list()).map(({ name }) => name)
    assert.deepEqual(names.sort(), [...this.#model.vms.keys()].sort(), 'the vms there are')
    for (const vm of this.#model.vms.values()) await this.#verify(vm)
    await this.#host.until('the disks of all vms are at rest', async () => {
      const vms = await this.#host.ramet.vms.list()
      const depths = await Promise.all(vms.map(async (vm) => (await vm.stats()).disk.chainDepth))
      return depths.every((depth) => depth <= depthMax.atRest)
    })
  }

  async #act(step: Exclude<Step, { kind: 'verify' }>): Promise<void> {
    if (step.kind === 'restart') {
      await this.#host.kill9()
      return await this.#host.restart()
    }
    const vm = await this.#host.ramet.vms.get(step.vm)
    if ('writes' in step && step.kind !== 'chase') await write(vm, step.writes)
    switch (step.kind) {
      case 'fork':
        await fork(vm, ...step.children)
        return
      case 'twins':
        await together(fork(vm, step.first), fork(vm, step.second))
        return
      case 'chase': {
        const child = await fork(vm, step.child)
        await together(fork(child, step.grandchild), write(vm, step.writes))
        return
      }
      case 'orphan':
        await fork(vm, step.child)
        return await vm.remove({ force: true })
      case 'crash':
        return await this.#crash(vm, step.child, step.afterMs)
      case 'fall':
        await fork(vm, step.child)
        await this.#host.kill9()
        return await this.#host.restart()
      case 'unplug':
        return await this.#unplug(vm, step)
      case 'reboot':
        return await this.#reboot(vm, step.clone)
      case 'template':
        return await this.#template(vm, step.template, step.child)
      case 'remove':
        await this.#verify(this.#model.find(step.vm))
        return await vm.remove({ force: true })
    }
  }

  /** Where the fork is by then depends on the host; what must hold afterwards does not. */
  async #crash(vm: Vm, child: string, afterMs: number): Promise<void> {
    const cut = fork(vm, child).catch((error: unknown) => error)
    await Promise.race([cut, after(afterMs)])
    await this.#host.kill9()
    await this.#host.restart()
    await cut
    if (!(await this.#host.gone(child))) await (await this.#host.ramet.vms.get(child)).remove({ force: true })
  }

  async #unplug(vm: Vm, step: Step & { kind: 'unplug' }): Promise<void> {
    const child = await fork(vm, step.child)
    const unplugged = step.unplugged === child.name ? child : vm
    await unplugged.kill()
    await unplugged.start()
    await installScribe(unplugged, this.#scribe)
  }

  async #reboot(vm: Vm, cloneName: string | undefined): Promise<void> {
    await vm.stop()
    if (cloneName !== undefined) {
      await installScribe(await vm.clone({ name: cloneName, start: true }), this.#scribe)
    }
    await vm.start()
    await installScribe(vm, this.#scribe)
  }

  async #template(vm: Vm, name: string, child: string): Promise<void> {
    const made = await this.#host.ramet.templates.create({ from: 'vm', vm: vm.id, name, keep: true, armed: 0 })
    assert.equal(made.kept?.name, vm.name)
    await made.template.forkAll({ names: [child] })
  }

  async #verify(expected: ModelVm): Promise<void> {
    const vm = await this.#host.ramet.vms.get(expected.name)
    assert.equal(vm.state, 'running', expected.name)
    const reading = await read(vm)
    const wrong = [
      ...differences('page', expected.memory, reading.memory),
      ...expected.disks.flatMap((sheet, disk) => differences(`disk ${disk} block`, sheet, reading.disks[disk])),
    ]
    assert.deepEqual([...wrong, ...reading.broken.slice(0, differenceMaxCount)], [], `what ${expected.name} holds`)
    assert.equal(reading.pulse, 'alive', `the pulse of ${expected.name}`)
    const { disk } = await vm.stats()
    assert.ok(disk.chainDepth <= depthMax.ever, `the chain of ${expected.name} has depth ${disk.chainDepth}`)
  }
}

function differences(where: string, expected: Sheet, found: Sheet | undefined): string[] {
  return expected
    .differences(found ?? new Sheet(), differenceMaxCount)
    .map((at) => `${where} ${at.index} must hold ${at.expected} and holds ${at.found}`)
}

async function fork(vm: Vm, ...names: string[]): Promise<Vm> {
  const results = await vm.fork({ count: names.length, names })
  // One by one, so that a failure is told by its own cause.
  for (const child of results) if (child instanceof ForkError) throw child
  const [first] = results
  assert.ok(first instanceof Vm)
  return first
}

/** All of them, also when one fails: nothing is under way when the failure is told. */
async function together(...doing: Promise<unknown>[]): Promise<void> {
  const outcomes = await Promise.allSettled(doing)
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}

import { diskBlocks, ForkModel, memoryPages, type Write } from './fork-model.ts'
import { Random } from './random.ts'

/** One thing that is done to the vms of a run; `writes` come before it, unless it says otherwise. */
export type Step =
  /** in the guest: memory and disks */
  | { kind: 'write'; vm: string; writes: Write[] }
  /** one child, or as many as are folded for */
  | { kind: 'fork'; vm: string; children: string[]; writes: Write[] }
  /** two forks of the same vm asked for at the same time, while a large delta is merged */
  | { kind: 'twins'; vm: string; writes: Write[]; first: string; second: string }
  /** a child forked at once while its parent, whose disks are merged, does the writes */
  | { kind: 'chase'; vm: string; child: string; grandchild: string; writes: Write[] }
  /** a parent that is removed as soon as it has a child */
  | { kind: 'orphan'; vm: string; child: string; writes: Write[] }
  /** a fork that the death of the daemon cuts short after a while; the child, if there is one, is removed */
  | { kind: 'crash'; vm: string; child: string; writes: Write[]; afterMs: number }
  /** the daemon is killed as soon as it has answered a fork: the child stays */
  | { kind: 'fall'; vm: string; child: string; writes: Write[] }
  /** a parent or its child loses its power as soon as there are both; its memory is lost, its disks are not */
  | { kind: 'unplug'; vm: string; child: string; unplugged: string; writes: Write[] }
  /** the daemon is killed, and another started */
  | { kind: 'restart' }
  /** stopped, perhaps cloned, and started: memory is lost */
  | { kind: 'reboot'; vm: string; clone?: string }
  /** a template is made of a vm that goes on as its first child, and forked once */
  | { kind: 'template'; vm: string; template: string; child: string }
  /** read back, then removed */
  | { kind: 'remove'; vm: string }
  /** everything that a vm holds is read back */
  | { kind: 'verify'; vm: string }

export type StepKind = Step['kind']

const weights: readonly (readonly [StepKind, number])[] = [
  ['write', 10],
  ['fork', 20],
  ['twins', 8],
  ['chase', 8],
  ['orphan', 8],
  ['crash', 4],
  ['fall', 5],
  ['unplug', 5],
  ['restart', 5],
  ['reboot', 4],
  ['template', 3],
  ['remove', 10],
  ['verify', 6],
]

export const stepKinds: readonly StepKind[] = weights.map(([kind]) => kind)

/** Vms at the same time: hosts that test are small. */
const vmMaxCount = 5
const foldedChildCount = 3
/** Blocks that a cluster of a delta holds: what is discarded as a whole reads as zeros. */
const clusterBlocks = 16
const denseBlocks = 2048
/** with a cluster each, more than `limits.diskCopyBytes` */
const scatteredBlocks = 640
const numbersPerSeed = 2 ** 20

/** New vms that a step makes. */
const added: Partial<Record<StepKind, number>> = {
  fork: 1,
  twins: 2,
  chase: 2,
  orphan: 1,
  crash: 1,
  fall: 1,
  unplug: 1,
  reboot: 1,
  template: 1,
}

/** The steps that follow from a seed; more steps begin with the same. */
export function stepsOf(seed: number, count: number): Step[] {
  const plan = new Plan(seed)
  return Array.from({ length: count }, () => plan.next())
}

/** What the model holds after steps. */
export function apply(model: ForkModel, step: Step): void {
  if ('writes' in step && step.kind !== 'chase') model.write(step.vm, step.writes)
  switch (step.kind) {
    case 'fork':
      for (const child of step.children) model.fork(step.vm, child)
      break
    case 'twins':
      model.fork(step.vm, step.first)
      model.fork(step.vm, step.second)
      break
    case 'chase':
      model.fork(step.vm, step.child)
      model.fork(step.child, step.grandchild)
      model.write(step.vm, step.writes)
      break
    case 'orphan':
      model.fork(step.vm, step.child)
      model.remove(step.vm)
      break
    case 'fall':
    case 'template':
      model.fork(step.vm, step.child)
      break
    case 'unplug':
      model.fork(step.vm, step.child)
      model.reboot(step.unplugged)
      break
    case 'reboot':
      if (step.clone !== undefined) model.clone(step.vm, step.clone)
      model.reboot(step.vm)
      break
    case 'remove':
      model.remove(step.vm)
  }
}

/** Chooses step after step; keeps a model of its own to know which vms there will be. */
class Plan {
  readonly #random: Random
  readonly #model = new ForkModel()
  readonly #weights: readonly (readonly [StepKind, number])[]
  #number: number
  #vmCount = 0
  #hasTemplate = false
  #isFirst = true

  constructor(seed: number) {
    this.#random = new Random(seed)
    this.#number = (seed >>> 0) * numbersPerSeed
    // Each seed has a taste: some kinds come often, others hardly or never.
    this.#weights = weights.map(([kind, weight]) => [kind, weight * this.#random.below(4)])
    this.#model.boot(this.#name())
  }

  next(): Step {
    const step = this.#make(this.#isFirst ? 'write' : this.#kind())
    this.#isFirst = false
    apply(this.#model, step)
    return step
  }

  #kind(): StepKind {
    const possible = this.#weights.filter(([kind]) => this.#isPossible(kind))
    return possible.every(([, weight]) => weight === 0) ? 'write' : this.#random.weighted(possible)
  }

  #isPossible(kind: StepKind): boolean {
    const { size } = this.#model.vms
    if (kind === 'remove') return size > 1
    if (kind === 'template' && this.#hasTemplate) return false
    return size + (added[kind] ?? 0) <= vmMaxCount
  }

  #make(kind: StepKind): Step {
    const vm = this.#random.pick([...this.#model.vms.keys()])
    switch (kind) {
      case 'write':
        return { kind, vm, writes: this.#writes() }
      case 'fork':
        return { kind, vm, children: this.#children(), writes: this.#writes() }
      case 'twins':
        return { kind, vm, writes: [this.#largeWrite(), ...this.#writes()], first: this.#name(), second: this.#name() }
      case 'chase':
        return { kind, vm, child: this.#name(), grandchild: this.#name(), writes: this.#writes() }
      case 'orphan':
        return { kind, vm, child: this.#name(), writes: this.#writes() }
      case 'crash':
        return { kind, vm, child: this.#name(), writes: this.#writes(), afterMs: this.#random.below(900) }
      case 'fall':
        return { kind, vm, child: this.#name(), writes: this.#writes() }
      case 'unplug': {
        const child = this.#name()
        return { kind, vm, child, unplugged: this.#random.pick([vm, child]), writes: this.#writes() }
      }
      case 'reboot':
        return this.#random.chance(0.5) ? { kind, vm, clone: this.#name() } : { kind, vm }
      case 'template':
        this.#hasTemplate = true
        return { kind, vm, template: `${vm}-template`, child: this.#name() }
      case 'restart':
        return { kind }
      default:
        return { kind, vm }
    }
  }

  #children(): string[] {
    const room = this.#model.vms.size + foldedChildCount <= vmMaxCount
    const count = room && this.#random.chance(0.4) ? foldedChildCount : 1
    return Array.from({ length: count }, () => this.#name())
  }

  #name(): string {
    this.#vmCount += 1
    return `v${this.#vmCount - 1}`
  }

  #nextNumber(): number {
    this.#number += 1
    return this.#number
  }

  #writes(): Write[] {
    const writes = Array.from({ length: 4 + this.#random.below(12) }, () =>
      this.#random.chance(0.4) ? this.#memoryWrite() : this.#diskWrite(),
    )
    if (this.#random.chance(0.15)) writes.push(this.#largeWrite())
    return writes
  }

  #memoryWrite(): Write {
    // Few places, so that what generations wrote before is overwritten.
    const index = this.#random.below(this.#random.chance(0.8) ? 48 : memoryPages - 8)
    const number = this.#random.chance(0.35) ? 0 : this.#nextNumber()
    return { where: 'memory', way: 'write', index, count: 1 + this.#random.below(8), number }
  }

  #diskWrite(): Write {
    const where = this.#random.below(diskBlocks.length)
    const blocks = diskBlocks[where] ?? 0
    const spread = this.#random.chance(0.8) ? 8 * clusterBlocks : blocks - 8 * clusterBlocks
    const index = this.#random.below(spread)
    const cluster = index - (index % clusterBlocks)
    const write = { where, way: 'write' as const }
    switch (this.#random.below(6)) {
      case 0:
        return { ...write, index, count: 1, number: this.#nextNumber() }
      case 1:
        return { ...write, index, count: 1 + this.#random.below(4), number: 0 }
      case 2:
        return { ...write, way: 'zero', index, count: 1 + this.#random.below(3 * clusterBlocks), number: 0 }
      case 3:
        return { ...write, way: 'discard', index: cluster, count: this.#clusters(), number: 0 }
      case 4:
        return { ...write, index: cluster, count: this.#clusters(), number: this.#nextNumber() }
      default:
        return { ...write, index, count: clusterBlocks, number: this.#nextNumber() }
    }
  }

  #clusters(): number {
    return clusterBlocks * (1 + this.#random.below(4))
  }

  /** Takes a while to be merged, and to be copied where the file system shares nothing. */
  #largeWrite(): Write {
    const where = 0
    const blocks = diskBlocks[where]
    const write = { where, way: 'write' as const, number: this.#nextNumber() }
    const dense = { ...write, count: denseBlocks, index: this.#random.below(blocks - denseBlocks) }
    // A block in each cluster makes a delta that is too large to be copied for each child, at little cost in the guest.
    const index = this.#random.below(blocks - scatteredBlocks * clusterBlocks)
    const scattered = { ...write, index, count: scatteredBlocks, stride: clusterBlocks }
    return this.#random.chance(0.5) ? dense : scattered
  }
}

/** Bytes of a page of memory and of a block of a disk. */
export const pageBytes = 4096
/** Pages of the guest's memory that are watched. */
export const memoryPages = 1024
const MiB = 1024 * 1024
/** The disks of every vm, bytes. */
export const diskSizes = [64 * MiB, 8 * MiB] as const
/** Blocks of each disk that are watched; the last one belongs to the pulse. */
export const diskBlocks = [diskSizes[0] / pageBytes - 1, diskSizes[1] / pageBytes - 1] as const

/** How a range comes to its content; `zero` and `discard` leave zeros, as does the number 0. */
export type WriteWay = 'write' | 'zero' | 'discard'

/** A range of pages or blocks of one content. */
export interface Write {
  /** a disk by its index, or guest memory */
  where: number | 'memory'
  way: WriteWay
  index: number
  count: number
  /** from one block to the next; 1 when left out */
  stride?: number
  /** what each page says; a number is used once, 0 is a page of zeros */
  number: number
}

/** What each page of one memory, or each block of one disk, must hold. What is not there is zero. */
export class Sheet {
  readonly #numbers: Map<number, number>

  constructor(numbers: Iterable<readonly [number, number]> = []) {
    this.#numbers = new Map(numbers)
  }

  copy(): Sheet {
    return new Sheet(this.#numbers)
  }

  set({ index, count, number, stride = 1 }: Pick<Write, 'index' | 'count' | 'number' | 'stride'>): void {
    for (let at = index; at < index + count * stride; at += stride) {
      if (number === 0) this.#numbers.delete(at)
      else this.#numbers.set(at, number)
    }
  }

  get(index: number): number {
    return this.#numbers.get(index) ?? 0
  }

  /** Where two differ, as `index: this or that`, at most `limit` of them. */
  differences(found: Sheet, limit: number): { index: number; expected: number; found: number }[] {
    const indexes = new Set([...this.#numbers.keys(), ...found.#numbers.keys()])
    return [...indexes]
      .sort((a, b) => a - b)
      .filter((index) => this.get(index) !== found.get(index))
      .slice(0, limit)
      .map((index) => ({ index, expected: this.get(index), found: found.get(index) }))
  }
}

/** What one vm must hold. */
export interface ModelVm {
  name: string
  memory: Sheet
  disks: Sheet[]
  /** whether its pulse beats: it ends with the memory it is in */
  pulse: boolean
}

/** What all vms must hold, told by what happens to them. */
export class ForkModel {
  readonly vms = new Map<string, ModelVm>()

  boot(name: string): ModelVm {
    const vm = { name, memory: new Sheet(), disks: diskSizes.map(() => new Sheet()), pulse: true }
    this.vms.set(name, vm)
    return vm
  }

  find(name: string): ModelVm {
    const vm = this.vms.get(name)
    if (vm === undefined) throw new Error(`the model has no vm ${name}`)
    return vm
  }

  write(name: string, writes: readonly Write[]): void {
    const vm = this.find(name)
    for (const write of writes) {
      const sheet = write.where === 'memory' ? vm.memory : vm.disks[write.where]
      sheet?.set(write.way === 'write' ? write : { ...write, number: 0 })
    }
  }

  /** The child has all that the parent has now. */
  fork(parent: string, child: string): void {
    const { memory, disks, pulse } = this.find(parent)
    this.vms.set(child, { name: child, memory: memory.copy(), disks: disks.map((disk) => disk.copy()), pulse })
  }

  /** A copy of the disks, that boots. */
  clone(source: string, name: string): void {
    this.boot(name).disks = this.find(source).disks.map((disk) => disk.copy())
  }

  /** Stopped and started: what was in memory is gone. */
  reboot(name: string): void {
    const vm = this.find(name)
    vm.memory = new Sheet()
    vm.pulse = true
  }

  remove(name: string): void {
    this.vms.delete(name)
  }
}

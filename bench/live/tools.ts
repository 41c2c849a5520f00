import { setTimeout as sleep } from 'node:timers/promises'
import type { Template, Vm } from '../../src/client/index.ts'
import type { ScratchDaemon } from '../../tools/scratch-daemon.ts'
import { forkOne } from '../fork-runs.ts'
import { fillDisk, installGuestLoad } from './guest-load.ts'

/** What every part of the measurement works with. */
export interface LiveTools {
  daemon: ScratchDaemon
  /** programme that works in the guests */
  load: Buffer
  /** one run of the floor, so that what else the machine does meets it too */
  runFloor(): Promise<void>
  signal: AbortSignal
  say(text: string): void
}

export const MiB = 1024 * 1024
export const GiB = 1024 * MiB

/** what the guest's kernel and programmes need beside the memory that is filled */
const guestOwnBytes = 128 * MiB
const memoryStepBytes = 256 * MiB

/** Guest memory in which so much can be filled. */
export const memoryFor = (filledBytes: number): number =>
  Math.ceil((filledBytes + guestOwnBytes) / memoryStepBytes) * memoryStepBytes

export interface TemplateShape {
  memoryBytes: number
  /** size of the root device; none when left out */
  diskBytes?: number
  /** of it, written before it becomes the base */
  diskBaseBytes?: number
}

/** Boots the small image and makes a template with the programme in it. Nothing is armed: it would take turns with the forks. */
export async function makeTemplate(tools: LiveTools, name: string, shape: TemplateShape): Promise<Template> {
  const { memoryBytes, diskBytes, diskBaseBytes = 0 } = shape
  const { ramet } = tools.daemon
  const disks = diskBytes === undefined ? {} : { disks: [{ sizeBytes: diskBytes }] }
  const vm = await ramet.vms.create({ image: 'micro', memoryBytes, ...disks })
  await installGuestLoad(vm, tools.load)
  if (diskBaseBytes > 0) await fillDisk(vm, 0, diskBaseBytes, 1)
  const { template } = await ramet.templates.create({ from: 'vm', vm: vm.id, name, armed: 0 })
  return template
}

/** Forks a child that has a base, as every vm after the first has, and gives it to `use`; it is gone afterwards. */
export async function withParent<T>(template: Template, use: (parent: Vm) => Promise<T>): Promise<T> {
  await using parent = await forkOne(template)
  return await use(parent)
}

/** Lets the guests go on for a while: the rate at which they do is what is measured. */
export async function pass(tools: LiveTools, ms: number): Promise<void> {
  await sleep(ms, undefined, { signal: tools.signal })
}

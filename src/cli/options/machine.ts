import { limits } from '../../shared/limits.ts'
import type { Values } from '../command.ts'
import { list, parsed } from '../command.ts'
import { oneOf, wholeNumber } from '../parse/number.ts'
import { parseSizeBytes } from '../parse/size.ts'

const networks = ['isolated', 'user', 'none'] as const

/** What is chosen when a vm is created, and cannot change at fork. */
export const machineOptions = {
  cpus: parsed('--cpus <n>', 'virtual processors', wholeNumber(1, limits.cpuMaxCount)),
  memory: parsed('-m, --memory <size>', 'guest memory, as 512M or 2G', parseSizeBytes),
  disk: list('--disk <size>', 'an empty disk beside the root disk; repeat for more', parseSizeBytes),
  network: list('--network <kind>', 'a network interface: isolated, user or none; repeat for more', oneOf(...networks)),
  init: parsed('--init <kind>', 'first process: agent, or system for the init of the image', oneOf('agent', 'system'), [
    'agent',
    'system',
  ]),
}

export function machineRequest(options: Values<typeof machineOptions>) {
  return {
    ...(options.cpus === undefined ? {} : { cpus: options.cpus }),
    ...(options.memory === undefined ? {} : { memoryBytes: options.memory }),
    ...(options.disk.length === 0 ? {} : { disks: options.disk.map((sizeBytes) => ({ sizeBytes })) }),
    ...(options.network.length === 0 ? {} : { nics: options.network.map((network) => ({ network })) }),
    ...(options.init === undefined ? {} : { init: options.init }),
  }
}

/** What the processor of a guest can do, by the names that QEMU's `-cpu` knows. */
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { cpuModelOf } from './machine.ts'
import type { MachineDescription } from './machine-description.ts'
import type { ExecuteOptions, QmpClient } from './qmp.ts'

/** As QEMU has them, and as a message may show them. */
const namePattern = /^[a-z0-9][a-z0-9._-]{0,63}$/i

/**
 * The features of the processor that guests of this machine have in this QEMU, ascending; each once, by its first name. A QEMU of that
 * machine answers at any time: before its guest has run (`-S`), while it waits for an incoming state, and while the guest runs,
 * in a few milliseconds of QEMU's main thread.
 *
 * QEMU expands the model that it was started with, together with the flags that were given to it; that is the one answer that
 * names features and nothing else. A named model is expanded to what it promises, so what the accelerator could not
 * give is taken off: the processor itself knows that.
 *
 * @throws RametError `QMP_FAILED` when the answer cannot be understood
 */
export async function readCpuFeatures(
  qmp: QmpClient,
  machine: MachineDescription,
  options: ExecuteOptions = {},
): Promise<string[]> {
  const [name] = cpuModelOf(machine).split(',')
  const expansion = await qmp.execute('query-cpu-model-expansion', { type: 'static', model: { name } }, options)
  const cpus = await qmp.execute('query-cpus-fast', undefined, options)
  const path = fieldOf(Array.isArray(cpus) ? cpus[0] : undefined, 'qom-path')
  const missing = await qmp.execute('qom-get', { path, property: 'unavailable-features' }, options)
  return parseCpuFeatures(expansion, missing)
}

/**
 * Takes the features that are on out of QEMU's answers.
 *
 * @param expansion of the model
 * @param missing names of those that the processor has not got
 */
export function parseCpuFeatures(expansion: unknown, missing: unknown): string[] {
  const props = propsOf(expansion)
  if (!Array.isArray(missing)) throw unreadable('no list of what is missing')
  const without = new Set<unknown>(missing)
  // Numbers and texts are properties of a model: family, stepping, vendor.
  const features = Object.keys(props).filter((name) => props[name] === true && !without.has(name))
  if (features.length === 0 || features.length > limits.cpuFeatureCount) throw unreadable(`${features.length} features`)
  const strange = features.find((name) => !namePattern.test(name))
  if (strange !== undefined) throw unreadable(`a feature ${JSON.stringify(strange.slice(0, 80))}`)
  return features.sort()
}

function propsOf(answer: unknown): Record<string, unknown> {
  const model = fieldOf(answer, 'model')
  const props = fieldOf(model, 'props')
  if (typeof props !== 'object' || props === null || Array.isArray(props)) throw unreadable('no features')
  return { ...props }
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && name in value ? Reflect.get(value, name) : undefined
}

function unreadable(what: string): RametError {
  return new RametError('QMP_FAILED', { message: `cannot read what QEMU says of its processor: ${what}` })
}

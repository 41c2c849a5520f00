import { CommandExitError, type Vm } from '../../src/client/index.ts'
import { buildScribe } from './scribe.ts'

const program = '/tmp/sums'
/** of a shell that finds no such program */
const notFoundExitCode = 127

/** Lines of `<sum> <bytes> <path>`, one for each file or disk of a guest; two are equal when all bytes are. */
export type Sums = (vm: Vm, ...paths: readonly string[]) => Promise<string>

/**
 * A way to tell what files and disks of guests hold, past their caches: under emulation `md5sum` takes most of the time
 * of a test that asks often. A guest gets the program when it first needs it, and its children have it from there.
 */
export async function buildSums(): Promise<Sums> {
  const scribe = await buildScribe()
  return async (vm, ...paths) => {
    const command = `${program} sum ${paths.join(' ')}`
    try {
      return (await vm.commands.run(command)).stdout
    } catch (error) {
      if (!(error instanceof CommandExitError && error.exitCode === notFoundExitCode)) throw error
    }
    await vm.files.write(program, scribe, { mode: 0o755 })
    return (await vm.commands.run(command)).stdout
  }
}

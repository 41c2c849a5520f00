import type { Vm } from '../../src/client/index.ts'
import { buildGuestProgram } from './guest-program.ts'

const program = '/tmp/region'

/** Starts the program that holds a region of memory and goes over it (`region.c`). */
export async function startRegion(vm: Vm, seed: number, sizeMiB: number): Promise<void> {
  await vm.files.write(program, await buildGuestProgram('region'), { mode: 0o755 })
  await vm.commands.run([program, String(seed), String(sizeMiB)], { background: true })
  await vm.commands.run('until [ -s /tmp/region.state ]; do sleep 0.05; done')
}

/** How far it has come, and how many pages were not as it had left them. */
export async function readRegion(vm: Vm): Promise<{ pass: number; page: number; wrong: number }> {
  const { stdout } = await vm.commands.run('cat /tmp/region.state; ps | grep -q "[/]tmp/region " && echo alive')
  const [, pass, page, wrong, alive] = /^(\d+)\s+(\d+)\s+(\d+)\s+(alive)?/.exec(stdout) ?? []
  if (alive === undefined || wrong === undefined) throw new Error(`the region has come to an end: ${stdout}`)
  return { pass: Number(pass), page: Number(page), wrong: Number(wrong) }
}

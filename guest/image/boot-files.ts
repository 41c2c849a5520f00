/** The kernel and the initramfs that every image has. */
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buildAgent } from './agent-binary.ts'
import type { CpioEntry } from './cpio.ts'
import { collectModules, composeInitramfs } from './initramfs.ts'
import { extractKernel } from './kernel-image.ts'
import { unpackKernel } from './kernel-package.ts'
import { initrdFile, kernelFile } from './manifest.ts'
import type { Bench, Workshop } from './workshop.ts'

/**
 * Writes both into the bench's `staging`.
 *
 * @returns directory of the unpacked kernel package, modules and their lists included
 */
export async function writeBootFiles(shop: Workshop, bench: Bench, extra: readonly CpioEntry[] = []): Promise<string> {
  const { run, kernel } = shop
  const kernelRoot = join(bench.work, 'kernel')
  shop.report('kernel', `unpacking kernel ${kernel.release}`)
  await unpackKernel(kernel, kernelRoot, run)
  const packed = join(kernelRoot, 'boot', `vmlinuz-${kernel.release}`)
  const bare = extractKernel(await readFile(packed))
  if (bare === undefined) await copyFile(packed, join(bench.staging, kernelFile))
  else await writeFile(join(bench.staging, kernelFile), bare)
  shop.report('agent', 'building the guest agent')
  const agent = await buildAgent(shop.agentDir, bench.work, run)
  shop.report('initrd', 'writing the initramfs')
  const modules = await collectModules(kernelRoot, kernel.release, run)
  await writeFile(join(bench.staging, initrdFile), composeInitramfs(agent, modules, extra))
  return kernelRoot
}

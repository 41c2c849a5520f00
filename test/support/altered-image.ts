import { createHash } from 'node:crypto'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildAgent, defaultAgentDir } from '../../guest/image/agent-binary.ts'
import { writeCpio } from '../../guest/image/cpio.ts'
import { digestOfFiles } from '../../guest/image/digest.ts'
import { initrdFile, manifestFile, parseManifest } from '../../guest/image/manifest.ts'
import { runTool } from '../../guest/image/testing/fixtures.ts'

/** Makes an image boot another first program: the kernel unpacks archives one after the other, the last one wins. */
export async function replaceInit(imageDir: string, init: Buffer): Promise<void> {
  const path = join(imageDir, initrdFile)
  const overlay = writeCpio([{ kind: 'file', path: 'init', mode: 0o755, data: init }])
  const initrd = Buffer.concat([await readFile(path), overlay])
  await writeFile(path, initrd)
  const manifestPath = join(imageDir, manifestFile)
  const manifest = parseManifest(await readFile(manifestPath, 'utf8'), manifestPath)
  const sha256 = createHash('sha256').update(initrd).digest('hex')
  manifest.files[initrdFile] = { bytes: initrd.length, sha256 }
  manifest.digest = digestOfFiles(manifest.files)
  await writeFile(manifestPath, JSON.stringify(manifest))
}

/** Our agent as it will be one day: it speaks only versions of the protocol that nobody knows yet. */
export async function agentOfVersion(version: number): Promise<Buffer> {
  const dir = await mkdtemp(join(tmpdir(), 'ramet-agent-test-'))
  try {
    const sources = join(dir, 'agent')
    await cp(defaultAgentDir, sources, { recursive: true, filter: (path) => !/\/(build|test|fuzz)$/.test(path) })
    const header = join(sources, 'src/frame.h')
    const text = await readFile(header, 'utf8')
    await writeFile(header, text.replace(/(PROTOCOL_VERSION_M(?:IN|AX)) \d+u/g, `$1 ${version}u`))
    return await buildAgent(sources, dir, (program, args) => runTool(program, args))
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

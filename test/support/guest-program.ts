import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { repositoryRoot } from '../../tools/rules/source.ts'

const run = promisify(execFile)

/** Compiles a program of this directory for guests: static, so that it runs in any. */
export async function buildGuestProgram(name: string): Promise<Buffer> {
  const workshop = await mkdtemp(join(tmpdir(), `ramet-${name}-`))
  try {
    const file = join(workshop, name)
    const source = join(repositoryRoot, 'test/support', `${name}.c`)
    await run('musl-gcc', ['-static', '-O2', '-Wall', '-Werror', '-o', file, source])
    return await readFile(file)
  } finally {
    await rm(workshop, { recursive: true, force: true })
  }
}

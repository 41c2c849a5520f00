import { spawn } from 'node:child_process'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, stat } from 'node:fs/promises'
import { basename, join, posix } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { RametApiError, type Vm } from '../client/index.ts'
import { errnoOf, RametError } from '../shared/errors.ts'
import type { Context } from './context.ts'
import { write } from './io.ts'

/** Copies a file or a directory of this machine (`-`: what comes in) into a vm. */
export async function copyIn(context: Context, vm: Vm, here: string, there: string): Promise<void> {
  const { signal } = context
  if (here === '-') {
    await vm.files.write(there, context.io.stdin, { signal })
    return
  }
  const source = await statHere(here)
  if (source === undefined)
    throw new RametError('INVALID_ARGUMENT', { message: `there is no ${here}`, remediation: 'Check the path.' })
  const target = (await isDirectoryThere(vm, there, signal)) ? posix.join(there, basename(join(here))) : there
  if (!source.isDirectory()) {
    await vm.files.write(target, createReadStream(here), { mode: source.mode & 0o777, signal })
    return
  }
  await vm.files.makeDir(target, { signal })
  const unpack = await vm.commands.start(['tar', '-x', '-f', '-', '-C', target], { stdin: true, signal })
  // Only now: what a child has written when it ends is dropped unless somebody reads it already.
  const pack = spawn('tar', ['-c', '--owner=0', '--group=0', '-C', here, '.'], { stdio: ['ignore', 'pipe', 'pipe'] })
  const packed = ended(pack)
  try {
    for await (const chunk of pack.stdout) await unpack.sendStdin(new Uint8Array(chunk))
  } catch (error) {
    // It has ended before it had read everything: its own words tell more than that.
    pack.kill()
    packed.catch(() => {})
    throw await failureThere(vm, unpack, error)
  }
  unpack.closeStdin()
  await packed
  const { exitCode, stderr } = await unpack.wait({ throwOnFailure: false })
  if (exitCode !== 0) throw tarFailed(`in ${vm.name}`, stderr, exitCode)
}

/** Copies a file or a directory out of a vm (`-`: to the output). */
export async function copyOut(context: Context, vm: Vm, there: string, here: string): Promise<void> {
  const { signal } = context
  const directory = await isDirectoryThere(vm, there, signal)
  if (here === '-' && !directory) {
    for await (const chunk of await vm.files.read(there, { format: 'stream', signal }))
      await write(context.io.stdout, chunk)
    return
  }
  const into = here !== '-' && (await statHere(here))?.isDirectory() === true
  const target = into ? join(here, posix.basename(there)) : here
  if (!directory) {
    const body = await vm.files.read(there, { format: 'stream', signal })
    await pipeline(body, createWriteStream(target))
    return
  }
  if (here === '-')
    throw new RametError('INVALID_ARGUMENT', {
      message: `${there} is a directory`,
      remediation: `For an archive on the output: ramet exec ${vm.name} tar -c -C ${there} .`,
    })
  await mkdir(target, { recursive: true })
  await unpackFrom(vm, there, target, signal)
}

/**
 * A guest is not trusted with this machine: owners and special permission bits stay behind, and tar
 * itself refuses members that lead out of the directory.
 */
async function unpackFrom(vm: Vm, there: string, target: string, signal: AbortSignal): Promise<void> {
  const unpack = spawn('tar', ['-x', '--no-same-owner', '--no-same-permissions', '-f', '-', '-C', target], {
    stdio: ['pipe', 'ignore', 'pipe'],
  })
  const unpacked = ended(unpack)
  // Told of at the end; until then a broken pipe is only its shadow.
  unpacked.catch(() => {})
  unpack.stdin.on('error', () => {})
  const chunks = (data: Uint8Array) => write(unpack.stdin, data).catch(() => {})
  const pack = await vm.commands.start(['tar', '-c', '-f', '-', '-C', there, '.'], {
    signal,
    captureBytes: 64 * 1024,
    onStdoutBytes: chunks,
  })
  const { exitCode, stderr } = await pack.wait({ throwOnFailure: false })
  unpack.stdin.end()
  await unpacked
  if (exitCode !== 0) throw tarFailed(`in ${vm.name}`, stderr, exitCode)
}

async function failureThere(
  vm: Vm,
  command: { wait(options: { throwOnFailure: boolean }): Promise<{ exitCode: number; stderr: string }> },
  error: unknown,
): Promise<unknown> {
  const result = await command.wait({ throwOnFailure: false }).catch(() => undefined)
  return result === undefined ? error : tarFailed(`in ${vm.name}`, result.stderr, result.exitCode)
}

function tarFailed(where: string, stderr: string, exitCode: number): RametError {
  const said = stderr.trim().split('\n').at(-1)
  return new RametError('GUEST_REFUSED', {
    message: `tar ${where} ended with status ${exitCode}`,
    ...(said ? { cause: said } : {}),
    remediation: 'Check the path and the room on the disk; directories need tar in the guest.',
  })
}

function ended(child: ReturnType<typeof spawn>): Promise<void> {
  const said: Buffer[] = []
  child.stderr?.on('data', (chunk: Buffer) => said.length < 16 && said.push(chunk))
  return new Promise((resolve, reject) => {
    child.once('error', (cause) => {
      reject(new RametError('HOST_UNFIT', { message: 'tar cannot be run here', cause, remediation: 'Install tar.' }))
    })
    child.once('close', (code) => {
      if (code === 0 || code === null) resolve()
      else reject(tarFailed('here', Buffer.concat(said).toString('utf8'), code))
    })
  })
}

async function statHere(path: string) {
  try {
    return await stat(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw new RametError('INVALID_ARGUMENT', { message: `${path} cannot be read`, cause: error })
  }
}

async function isDirectoryThere(vm: Vm, path: string, signal: AbortSignal): Promise<boolean> {
  try {
    // With a slash at its end a link is followed.
    const info = await vm.files.getInfo(path, { signal })
    if (info.kind !== 'symlink') return info.kind === 'directory'
    return (await vm.files.getInfo(`${path.replace(/\/+$/, '')}/.`, { signal })).kind === 'directory'
  } catch (error) {
    if (error instanceof RametApiError && (error.status === 404 || error.code === 'GUEST_REFUSED')) return false
    throw error
  }
}

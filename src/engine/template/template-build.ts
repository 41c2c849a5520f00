import { AgentProcess } from '../../agent/process.ts'
import { runCommand } from '../../agent/run-command.ts'
import type { AgentSession } from '../../agent/session.ts'
import type { Readiness, TemplateCreate } from '../../api/template.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import type { OperationHandle } from '../operations.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import { discardVm, removeVm } from '../vm/vm-actions.ts'
import { bootVm } from '../vm/vm-boot.ts'
import { planVm } from '../vm/vm-plan.ts'

type FromImage = Extract<TemplateCreate, { from: 'image' }>

/**
 * Boots a vm for a template, starts its program and waits until it says that it is ready. With an error
 * nothing of the vm is left.
 *
 * @throws RametError `READINESS_FAILED` with what the probe last said, and as `bootVm`
 */
export async function prepareParent(
  parts: EngineParts,
  request: FromImage,
  handle: OperationHandle,
): Promise<VmRecord> {
  const { context } = parts
  const image = parts.images.find(request.image)
  const manifest = await parts.images.manifest(image.id)
  const vm = planVm(
    context,
    {
      name: undefined,
      image: request.image,
      cpus: request.cpus,
      memoryBytes: request.memoryBytes,
      disks: request.disks,
      nics: request.nics,
      init: request.init,
      labels: {},
      environment: request.environment,
      ports: [],
      limits: {},
      restart: { mode: 'no' },
      start: true,
    },
    image,
    manifest,
  )
  await context.vms.create(vm)
  return parts.runtimes.exclusively(vm.id, async () => {
    try {
      const running = await bootVm(parts, vm.id, handle)
      const session = await parts.runtimes.session(running, 'prepare', handle.signal)
      if (request.startCommand !== undefined) await startProgram(session, request.startCommand, handle)
      if (request.readiness !== undefined) await waitUntilReady(session, request.readiness, handle)
      return context.vms.find(vm.id)
    } catch (error) {
      await removeVm(parts, vm.id, true).catch(() => discardVm(parts, vm.id))
      throw asRametError(error)
    }
  })
}

async function startProgram(session: AgentSession, args: readonly string[], handle: OperationHandle): Promise<void> {
  handle.progress({ stage: 'starting program', message: `starting ${args[0] ?? ''} in the guest` })
  const process = await AgentProcess.start(session, {
    args,
    detached: true,
    stdin: false,
    tag: 'start-command',
    signal: handle.signal,
  })
  process.exit.catch(() => {})
  await process.detach()
}

async function waitUntilReady(session: AgentSession, probe: Readiness, handle: OperationHandle): Promise<void> {
  handle.progress({ stage: 'waiting until ready', message: `probing with ${probe.command.join(' ')}` })
  const { clock } = session
  const deadlineMs = clock.monotonicMs() + probe.timeoutMs
  let last = 'it was never run'
  while (clock.monotonicMs() < deadlineMs) {
    const leftMs = Math.max(1, deadlineMs - clock.monotonicMs())
    try {
      const result = await runCommand(session, { args: probe.command, timeoutMs: leftMs, signal: handle.signal })
      if (result.ok) return
      const said = `${result.stderr.toString()}${result.stdout.toString()}`.trim().split('\n').at(-1) ?? ''
      last = `${'exitCode' in result.exit ? `exit code ${result.exit.exitCode}` : result.exit.signalName}${said === '' ? '' : `: ${said.slice(0, 200)}`}`
    } catch (error) {
      handle.signal.throwIfAborted()
      last = asRametError(error).message
    }
    await clock.sleep(Math.min(probe.intervalMs, Math.max(0, deadlineMs - clock.monotonicMs())), handle.signal)
  }
  throw new RametError('READINESS_FAILED', {
    message: `the guest was not ready within ${probe.timeoutMs} ms; the probe “${probe.command.join(' ')}” last said: ${last}`,
    details: { last },
  })
}

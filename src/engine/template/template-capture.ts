import { closeSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { listDirectory } from '../../agent/file.ts'
import { freezeForCapture, thaw } from '../../agent/freeze.ts'
import { runHooks } from '../../agent/hooks.ts'
import type { AgentSession } from '../../agent/session.ts'
import type { Timings } from '../../api/timings.ts'
import { requireSpace } from '../../disk/space.ts'
import { captureGuest } from '../../fork/capture.ts'
import { storeBase } from '../../memory/store.ts'
import { readRomPages } from '../../qemu/rom-pages.ts'
import { faultPoint } from '../../shared/fault.ts'
import { newId } from '../../shared/ids.ts'
import { limits } from '../../shared/limits.ts'
import { Revert } from '../../shared/revert.ts'
import { baseFile } from '../disk/bases.ts'
import type { OperationHandle } from '../operations.ts'
import type { EngineParts } from '../parts.ts'
import type { TemplateRecord, VmRecord } from '../records.ts'
import type { VmRuntime } from '../vm/vm-runtime.ts'
import { transition } from '../vm-states.ts'
import { digestOf, templateStream, writeStream } from './template-stream.ts'

/**
 * Captures a running vm and stores its state as that of a template, which then lacks only its disks. The vm
 * is left stopped in `capturing`; with an error it runs on.
 *
 * @throws RametError `ILLEGAL_STATE`, `GUEST_REFUSED` (a hook failed), `NO_CAPACITY`, `NO_SPACE`, `CANCELLED`
 */
export async function captureTemplate(
  parts: EngineParts,
  template: TemplateRecord,
  vm: VmRecord,
  handle: OperationHandle,
): Promise<TemplateRecord> {
  const { context } = parts
  const runtime = parts.runtimes.reachable(vm, 'make a template of')
  // A disk so full that not even the undoing could be written down: refused while nothing has changed.
  await requireSpace(context.paths.dataDir, limits.diskActionBytes, `making template ${template.name}`)
  // Nothing of it can be read while it still comes.
  await parts.restores.complete(vm.id, handle)
  await transition(context, vm.id, 'capture', {}, 'make a template of')
  await using revert = new Revert((what, error) => context.log.error({ vm: vm.name, what, error }, 'undo failed'))
  revert.add('state', () => transition(context, vm.id, 'started'))
  handle.progress({ stage: 'quiescing', message: `${vm.name} comes to rest` })
  const session = await runtime.guest.session(handle.signal)
  await runHooks(session, 'pre-snapshot', { signal: handle.signal })
  const hasForkHooks = await hasHooks(session)
  const stored = await store(parts, template, vm, { runtime, session, handle, revert })
  faultPoint('template.stored')
  const captured = await context.templates.update(template.id, {
    ...stored,
    hasForkHooks,
    agentProtocol: session.version,
    making: { vmId: vm.id, keep: template.making?.keep ?? false, captured: true },
  })
  faultPoint('template.captured')
  revert.keep()
  return captured
}

interface CaptureRun {
  runtime: VmRuntime
  session: AgentSession
  handle: OperationHandle
  revert: Revert
}

async function store(
  parts: EngineParts,
  template: TemplateRecord,
  vm: VmRecord,
  run: CaptureRun,
): Promise<Partial<TemplateRecord>> {
  const { context } = parts
  const { runtime, session, handle, revert } = run
  const dir = context.paths.template(template.id)
  context.journal.intend([
    { operation: handle.id, owner: template.id, kind: 'directory', ident: { name: template.id } },
  ])
  revert.add('directory', () => rm(dir, { recursive: true, force: true }))
  await mkdir(dir, { recursive: true, mode: 0o711 })
  const base = await parts.bases.ofVm(vm)
  const capture = await captureGuest({
    qemu: runtime.qemu,
    workload: {
      freeze: (signal) => freezeForCapture(session, signal === undefined ? {} : { signal }),
      thaw: () => thaw(session),
    },
    memoryBytes: vm.machine.memoryBytes,
    nics: vm.nics,
    linksUp: vm.link === 'up',
    ...(base === undefined ? {} : { base }),
    newBaseId: newId('base', context.random),
    signal: handle.signal,
    onProgress: (doneBytes, totalBytes) =>
      handle.progress({ stage: 'capturing', doneBytes, totalBytes, message: 'copying guest memory' }),
  })
  revert.add('let it run on', () => capture.release())
  let handedOver = false
  revert.add('memory', () => {
    if (!handedOver) closeSync(capture.base.fd)
  })
  const romPages = await readRomPages(runtime.qemu, capture.deviceState.blocks)
  const stream = templateStream(vm.machine.machine, capture.deviceState, romPages)
  await writeStream(dir, stream)
  faultPoint('template.stream')
  const manifest = await storeBase(capture.base, join(dir, baseFile), {
    signal: handle.signal,
    onProgress: (doneBytes, totalBytes) =>
      handle.progress({ stage: 'storing', doneBytes, totalBytes, message: 'storing guest memory' }),
  })
  const kept = await parts.bases.keep(template.id, capture.base)
  handedOver = true
  revert.add('keeper', () => parts.bases.drop({ ...template, kept }))
  const timings: Timings = { captureMs: capture.captureMs }
  return {
    baseId: capture.base.id,
    kept,
    baseBytes: manifest.dataBytes,
    storedBytes: manifest.dataBytes + stream.length,
    streamDigest: digestOf(stream),
    timings,
  }
}

async function hasHooks(session: AgentSession): Promise<boolean> {
  try {
    return (await listDirectory(session, '/etc/ramet/post-fork.d')).totalCount > 0
  } catch {
    return false
  }
}

import type { Notice, RestoreReport } from '../../checkpoint/serve/protocol.ts'
import type { RestoreStats } from '../../checkpoint/serve/stats-schema.ts'
import { isRunning, type ProcessIdentity } from '../../host/process-identity.ts'
import { listenAgain, listenForSource, untilRestored } from '../../qemu/postcopy/destination.ts'
import { endRescue, leaveRescue, takeRescue } from '../../qemu/postcopy/rescue.ts'
import type { QemuProcess } from '../../qemu/process.ts'
import type { QmpClient } from '../../qemu/qmp.ts'
import { asRametError, isRametError, RametError } from '../../shared/errors.ts'
import { faultPoint } from '../../shared/fault.ts'
import { newId } from '../../shared/ids.ts'
import { limits } from '../../shared/limits.ts'
import type { EngineContext } from '../context.ts'
import type { OperationHandle } from '../operations.ts'
import type { CheckpointRecord, RestoreRecord, VmRecord } from '../records.ts'
import { ActiveRestore } from './active-restore.ts'
import { marks, publicReport } from './figures.ts'
import type { PageServer } from './page-server.ts'
import { PageServerLink } from './page-server-link.ts'
import { restoreRequest, restoreSource } from './restore-request.ts'
import { releaseSpent } from './suspended-files.ts'

/** What a vm is restored from, and how. */
export interface RestorePlan {
  /** absent: the vm was paused to disk */
  snapshotId?: string
  checkpoint: CheckpointRecord
  policy: string
}

/** Lazy restores: begun, followed, and given to another page server when theirs has died. */
export class Restores {
  readonly #context: EngineContext
  readonly #link: PageServerLink
  /** by vm */
  readonly #active = new Map<string, ActiveRestore>()
  readonly #stopping = new AbortController()
  /** told of each restore that is over, its record as it was last */
  onOver: (restore: RestoreRecord) => void = () => {}
  /** told of each vm some of whose memory cannot come */
  onFailed: (vmId: string) => void = () => {}
  /** told when no more memory comes to a vm */
  onTaken: () => void = () => {}

  constructor(context: EngineContext) {
    this.#context = context
    this.#link = new PageServerLink(context)
    this.#link.onNotice((notice) => this.#heed(notice))
  }

  /**
   * A vm is about to be restored: finds the page server, or starts it, and has it decompress what is expected to be needed
   * first while the vm's QEMU starts. Never throws: what fails here fails again in `begin`, where it matters.
   */
  async expect(vmId: string, plan: RestorePlan): Promise<void> {
    try {
      const server = await this.#link.get()
      await server.prepare(restoreSource(this.#context, vmId, plan))
    } catch (error) {
      this.#context.log.debug({ vmId, error: asRametError(error).message }, 'a restore was not prepared')
    }
  }

  /**
   * Begins to restore the guest of a QEMU that was started to be loaded. Its guest is there then and stands; the memory
   * comes as it is needed, and in the background.
   *
   * @throws RametError `CHECKPOINT_DAMAGED`, `BASE_DAMAGED`, `VMM_FAILED`, `HOST_UNFIT` when it must be loaded whole;
   *   `DAEMON_UNREACHABLE` with `details.lost` when the page server died: begin again, with another QEMU. Either way
   *   this one is of no more use
   */
  async begin(
    vm: Pick<VmRecord, 'id' | 'name'>,
    qemu: QemuProcess,
    plan: RestorePlan,
    signal?: AbortSignal,
  ): Promise<RestoreRecord> {
    const socketName = socketNameOf({ interruptions: 0 })
    const server = await this.#link.get()
    await listenForSource(qemu, socketName, { signal })
    const record = { ...draftRecord(this.#context, plan), rescue: await leaveRescue(qemu, signal) }
    const restored = untilRestored(qemu, { signal })
    restored.catch(() => {})
    const { dir, identity, qmp } = qemu
    const active = new ActiveRestore({ id: vm.id, name: vm.name }, { dir, identity, qmp }, record)
    this.#active.set(vm.id, active)
    try {
      const serving = { vm, record, qemu, socketName, takeOver: false }
      const stats = await server.serve(restoreRequest(this.#context, serving))
      active.count(stats)
      active.record = { ...active.record, recordedPages: stats.workingSetPages }
      faultPoint('restore.served')
      await restored
      faultPoint('restore.loaded')
    } catch (error) {
      this.#active.delete(vm.id)
      await server.drop(record.id).catch(() => {})
      throw (await hasGone(server)) ? serverDied(vm.name, error) : error
    }
    this.#serve(active, server)
    void qemu.ended.then(() => this.#ended(active))
    return active.record
  }

  /**
   * Takes up the restore of a vm that an earlier daemon began, or sees to it that a page server does: only then is
   * its QEMU sure to answer whoever adopts it. Never throws.
   */
  async adopt(vm: VmRecord): Promise<void> {
    const { restore, process } = vm
    if (restore === undefined || restore.state === 'done' || process === undefined) return
    const qemu = { dir: this.#context.paths.vm(vm.id), identity: process, qmp: this.#rescue(restore, process) }
    const active = new ActiveRestore({ id: vm.id, name: vm.name }, qemu, restore)
    this.#active.set(vm.id, active)
    const found = await this.#find(restore.id)
    if (found?.report.stats.state === 'completed') return this.#completed(active, found.report.stats)
    if (found !== undefined && found.report.stats.state !== 'lost') {
      active.count(found.report.stats)
      active.record = { ...active.record, state: found.report.stats.state === 'failed' ? 'failed' : 'filling' }
      this.#serve(active, found.server)
      return
    }
    // Without a way to it, this is for when it is adopted.
    if (qemu.qmp !== undefined) await this.#recover(active)
  }

  /** The QEMU of such a vm answers. */
  async adopted(vmId: string, qemu: QemuProcess): Promise<void> {
    const active = this.#active.get(vmId)
    if (active === undefined) return
    if (active.qemu.qmp !== qemu.qmp) active.qemu.qmp?.close()
    active.qemu.qmp = qemu.qmp
    void qemu.ended.then(() => this.#ended(active))
    if (active.end === 'completed') await endRescue(qemu.qmp).catch(() => {})
    else if (active.server === undefined) this.#interrupted(active, undefined)
    await this.#store(active)
  }

  #rescue({ rescue }: RestoreRecord, process: ProcessIdentity): QmpClient | undefined {
    try {
      return rescue === undefined ? undefined : takeRescue(process, rescue)
    } catch (error) {
      this.#context.log.warn({ pid: process.pid, error: asRametError(error).message }, 'no way past its main thread')
      return undefined
    }
  }

  async #find(restoreId: string): Promise<{ server: PageServer; report: RestoreReport } | undefined> {
    try {
      const server = await this.#link.get()
      const report = (await server.list()).find((candidate) => candidate.restoreId === restoreId)
      return report && { server, report }
    } catch (error) {
      this.#context.log.warn({ error: asRametError(error).message }, 'the page server could not be asked')
      return undefined
    }
  }

  /** The record of a vm that is restored has been stored: what was learnt before comes into it. */
  async recorded(vmId: string): Promise<void> {
    const active = this.#active.get(vmId)
    if (active !== undefined) await this.#store(active)
  }

  /** Keeps the figures of this moment. Never throws. */
  mark(vmId: string, moment: keyof typeof marks): void {
    const active = this.#active.get(vmId)
    if (active === undefined || active.end === 'ended') return
    const field = moment === 'ready' ? 'atReady' : 'atFirstExec'
    if (active.record[field] !== undefined) return
    if (moment === 'ready') this.#context.measure({ kind: 'restore-ready', ms: performance.now() - active.beganAtMs })
    void this.#mark(active, moment, field).catch((error: unknown) =>
      this.#context.log.debug({ vm: active.vm.name, error: asRametError(error).message }, 'a restore was not marked'),
    )
  }

  async #mark(active: ActiveRestore, moment: keyof typeof marks, field: 'atReady' | 'atFirstExec'): Promise<void> {
    if (active.end === undefined && active.server !== undefined) {
      active.count(await active.server.mark(active.record.id, marks[moment]))
    } else if (active.finalFigures !== undefined) {
      active.record = { ...active.record, [field]: active.finalFigures }
    }
    await this.#store(active)
  }

  /**
   * Has all memory of a vm come, as fast as it can, and waits for it: for whatever needs a vm that stands on its own.
   *
   * @throws RametError `VMM_FAILED` when its QEMU ends first, `CHECKPOINT_DAMAGED`; the signal's reason
   */
  async complete(vmId: string, handle: Pick<OperationHandle, 'signal' | 'progress'>): Promise<void> {
    const active = this.#active.get(vmId)
    if (active === undefined) return
    if (active.end === 'completed') return active.settled
    if (active.record.problem !== undefined) throw active.failure()
    const { signal } = handle
    signal.throwIfAborted()
    const stopped = Promise.withResolvers<never>()
    const onAbort = () => stopped.reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    const tell = ({ neededPages, missingPages }: RestoreStats) => {
      if (active.record.state === 'failed') stopped.reject(active.failure())
      const message = `all memory of ${active.vm.name} is fetched first`
      handle.progress({ stage: 'filling', fraction: 1 - missingPages / Math.max(1, neededPages), message })
    }
    active.watchers.add(tell)
    active.waiting.add(stopped.reject)
    try {
      active.hurried = true
      // Without a server it is the next one that is told. Nobody waits for its answer: whoever is let go must not, and a
      // wait that nobody listens to yet must not fail.
      active.server
        ?.hurry(active.record.id)
        .then(tell)
        .catch(() => {})
      const end = await Promise.race([active.over, stopped.promise])
      if (end === 'ended') throw active.failure()
      await active.settled
    } finally {
      active.watchers.delete(tell)
      active.waiting.delete(stopped.reject)
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** The vm is to end: nobody waits for its memory any more. @param why what they fail with */
  interrupt(vmId: string, why: RametError): void {
    for (const stop of this.#active.get(vmId)?.waiting ?? []) stop(why)
  }

  /** How the restore of a vm stands right now; undefined when this daemon has none in its care. */
  async reportOf(vmId: string): Promise<RestoreRecord | undefined> {
    const active = this.#active.get(vmId)
    if (active === undefined) return undefined
    const reports = active.end === undefined ? await active.server?.list().catch(() => []) : undefined
    const stats = reports?.find(({ restoreId }) => restoreId === active.record.id)?.stats
    if (stats !== undefined) active.count(stats)
    return active.record
  }

  /** How many vms run whose memory still comes. */
  get fillingCount(): number {
    return [...this.#active.values()].filter(({ end }) => end === undefined).length
  }

  /** Guest memory that still comes to vms that run without being asked for, bytes. */
  get missingBytes(): number {
    const isFilled = this.#context.settings.restoreFill !== 'none'
    let bytes = 0
    for (const active of this.#active.values())
      if (active.end === undefined && (isFilled || active.hurried)) bytes += active.missingBytes
    return bytes
  }

  /** The page server, if there is one that this daemon knows. */
  get pageServer(): PageServer | undefined {
    return this.#link.current
  }

  /** Lets go: what is under way goes on, in the hands of the page server alone. One that has nothing to do ends. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#link.stop(this.fillingCount === 0)
  }

  #serve(active: ActiveRestore, server: PageServer): void {
    active.server = server
    void server.closed.then(() => this.#interrupted(active, server))
    if (active.isLost) this.#interrupted(active, server)
    else if (active.hurried) server.hurry(active.record.id).catch(() => {})
  }

  #heed({ notice, restoreId, stats, error }: Notice): void {
    const active = [...this.#active.values()].find(({ record }) => record.id === restoreId)
    if (active === undefined || active.end !== undefined) return
    if (notice === 'completed') return void this.#completed(active, stats)
    if (notice === 'failed') return void this.#failed(active, stats, error)
    active.count(stats)
    // QEMU has gone, or the way to it; in the latter case it waits for another one.
    if (notice !== 'lost') return
    if (active.server !== undefined) this.#interrupted(active, active.server)
    else active.isLost = true
  }

  /** The guest goes on until it touches what cannot come: then it stands for good. */
  async #failed(active: ActiveRestore, stats: RestoreStats, error: Notice['error']): Promise<void> {
    const problem = error === undefined ? {} : { problem: error.message }
    active.record = { ...active.record, ...problem, state: 'failed' }
    active.count(stats)
    await this.#store(active)
    this.onFailed(active.vm.id)
  }

  async #completed(active: ActiveRestore, stats?: RestoreStats): Promise<void> {
    if (stats !== undefined) active.count(stats)
    active.record = withoutRescue({ ...active.record, state: 'done' })
    active.finish('completed')
    const { qmp } = active.qemu
    if (qmp !== undefined) await endRescue(qmp).catch(() => {})
    this.#context.measure({ kind: 'restore', outcome: 'completed', figures: active.record.now })
    this.onTaken()
    await this.#store(active)
    await this.#releaseSource(active)
    active.settle()
    await active.server?.drop(active.record.id).catch(() => {})
    this.onOver(active.record)
  }

  async #ended(active: ActiveRestore): Promise<void> {
    if (this.#active.get(active.vm.id) === active) this.#active.delete(active.vm.id)
    if (active.end !== undefined) return
    active.finish('ended')
    this.#context.measure({ kind: 'restore', outcome: 'ended', figures: active.record.now })
    await active.server?.drop(active.record.id).catch(() => {})
    this.onOver(active.record)
    await this.#releaseSource(active)
  }

  /** A checkpoint that only this vm was restored from is of no more use when it runs on its own, or is gone. */
  async #releaseSource(active: ActiveRestore): Promise<void> {
    const { id, name } = active.vm
    await releaseSpent(this.#context, id, active.record.id).catch((error: unknown) =>
      this.#context.log.warn({ vm: name, error: asRametError(error).message }, 'a checkpoint was not removed'),
    )
  }

  #interrupted(active: ActiveRestore, server: PageServer | undefined): void {
    if (active.end !== undefined || active.server !== server || this.#stopping.signal.aborted) return
    active.server = undefined
    active.recovering ??= this.#recover(active)
  }

  /** Finds another server for a guest that stands wherever it needs memory that has not come. Never throws. */
  async #recover(active: ActiveRestore): Promise<void> {
    const { clock, log } = this.#context
    const { signal } = this.#stopping
    while (isUnderWay(active) && active.server === undefined && !signal.aborted) {
      try {
        await this.#takeOver(active)
      } catch (error) {
        if (signal.aborted || !isUnderWay(active)) break
        if (isLasting(error)) {
          await this.#despair(active, asRametError(error))
          break
        }
        log.warn({ vm: active.vm.name, error: asRametError(error).message }, 'a restore was not taken up again')
        await clock.sleep(limits.restoreRetryMs, signal).catch(() => {})
      }
    }
    // In the same turn as the last look: a server that dies later begins this anew.
    active.recovering = undefined
  }

  /** What it came from is gone or damaged, which no other server changes: whoever waits is told, and the next daemon looks again. */
  async #despair(active: ActiveRestore, { message, remediation }: RametError): Promise<void> {
    active.record = { ...active.record, problem: `${message}. ${remediation}`.trim(), state: 'failed' }
    this.#context.log.error({ vm: active.vm.name, error: message }, 'a restore cannot be taken up again')
    for (const stop of active.waiting) stop(active.failure())
    await this.#store(active)
    this.onFailed(active.vm.id)
  }

  async #takeOver(active: ActiveRestore): Promise<void> {
    const { vm, qemu } = active
    const { qmp } = qemu
    if (qmp === undefined) throw new RametError('QMP_FAILED', { message: 'there is no way to its QEMU yet' })
    const interruptions = active.record.interruptions + 1
    // Another server may be able to read what this one could not, or says so anew.
    active.record = { ...active.record, state: 'interrupted', problem: undefined, interruptions }
    await this.#store(active)
    faultPoint('restore.interrupted')
    const server = await this.#link.get()
    const socketName = socketNameOf(active.record)
    const { signal } = this.#stopping
    if ((await listenAgain(qmp, socketName, { signal })) === 'completed') return this.#completed(active)
    faultPoint('restore.listening')
    // One that lives has only lost the way to QEMU, and has an old restore of this name.
    await server.drop(active.record.id)
    // What was said of that one does not count for the next.
    active.isLost = false
    const serving = { vm, record: active.record, qemu, socketName, takeOver: true }
    await server.serve(restoreRequest(this.#context, serving))
    faultPoint('restore.taken-over')
    if (active.record.state === 'interrupted') active.record = { ...active.record, state: 'filling' }
    this.#serve(active, server)
    await this.#store(active)
  }

  /** Nothing is lost when this fails: what is stored is for people, and for the next daemon, which asks again. */
  async #store(active: ActiveRestore): Promise<void> {
    const { events, log, vms } = this.#context
    const { vm, record } = active
    const stored = vms.get(vm.id)?.restore
    if (stored?.id !== record.id) return
    try {
      await vms.update(vm.id, { restore: record })
      const { state } = record
      events.emit({
        type: 'vm.restore',
        resource: { kind: 'vm', ...vm },
        data: { state, restore: publicReport(record) },
      })
    } catch (error) {
      log.debug({ vm: vm.name, error: asRametError(error).message }, 'the progress of a restore was not stored')
    }
  }
}

const isUnderWay = ({ end, qemu }: ActiveRestore) => end === undefined && isRunning(qemu.identity)

/** Whether trying again comes to the same. */
const isLasting = (error: unknown) =>
  (['NOT_FOUND', 'BASE_DAMAGED', 'CHECKPOINT_DAMAGED'] as const).some((code) => isRametError(error, code))

/** A name that no earlier server of this restore was told. */
const socketNameOf = ({ interruptions }: Pick<RestoreRecord, 'interruptions'>) => `restore-${interruptions}.sock`

/** Whether a page server that something went wrong with is there no more. */
async function hasGone(server: PageServer): Promise<boolean> {
  const answers = server.list().then(
    () => false,
    () => true,
  )
  return answers
}

function serverDied(name: string, cause: unknown): RametError {
  return new RametError('DAEMON_UNREACHABLE', {
    message: `the page server ended while ${name} was restored`,
    cause,
    remediation: 'Call again; another page server is started.',
    details: { lost: true },
  })
}

/** Whether it is worth to begin again, with another QEMU. */
export const isServerLost = (error: unknown): boolean =>
  isRametError(error, 'DAEMON_UNREACHABLE') && error.details.lost === true

function draftRecord(context: EngineContext, { snapshotId, checkpoint, policy }: RestorePlan): RestoreRecord {
  return {
    id: newId('rst', context.random),
    ...(snapshotId === undefined ? {} : { snapshotId }),
    state: 'filling',
    policy,
    recordedPages: 0,
    interruptions: 0,
    checkpoint,
  }
}

function withoutRescue({ rescue: _, ...record }: RestoreRecord): RestoreRecord {
  return record
}

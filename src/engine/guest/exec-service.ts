import { forgetProcess, listProcesses, type ProcessInfo, signalProcess } from '../../agent/proc.ts'
import { AgentProcess } from '../../agent/process.ts'
import type { AgentSession } from '../../agent/session.ts'
import type { Exec, ExecStart } from '../../api/exec.ts'
import { RametError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import { limits } from '../../shared/limits.ts'
import type { ExecAttach, ExecSession } from '../contract.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import type { VmRuntime } from '../vm/vm-runtime.ts'
import { AgentExecSession } from './exec-session.ts'

/**
 * Processes in guests. The guest keeps their table, with our exec id as their tag, so that ids mean the
 * same to a restarted daemon and in a forked child.
 */
export class ExecService {
  readonly #parts: EngineParts
  /** newest session of each process, which ends when somebody else attaches */
  readonly #sessions = new Map<string, AgentExecSession>()
  /** starts under way whose id the caller chose */
  readonly #starting = new Map<string, Promise<AgentExecSession>>()
  /** by runtime: guest process numbers by exec id */
  readonly #known = new WeakMap<VmRuntime, Map<string, number>>()

  /** sessions whose client was lost and has not come back */
  readonly #lost = new Map<string, AgentExecSession>()
  /** runtimes in which something has been run already */
  readonly #used = new WeakSet<VmRuntime>()
  readonly #reattachMs: number

  /** @param reattachMs how long a lost client may take to come back */
  constructor(parts: EngineParts, reattachMs: number = limits.execReattachMs) {
    this.#parts = parts
    this.#reattachMs = reattachMs
  }

  /** The vm is in use until the session is over. */
  start(of: VmRecord, request: ExecStart): Promise<ExecSession> {
    return this.#attached(of, (vm) => this.#startInTurn(vm, request))
  }

  async #startInTurn(vm: VmRecord, request: ExecStart): Promise<AgentExecSession> {
    if (request.execId === undefined) return this.#start(vm, newId('exec', this.#parts.context.random), request)
    const key = keyOf(vm, request.execId)
    // A client whose connection broke asks again while its first request is still on its way to the guest.
    for (let other = this.#starting.get(key); other !== undefined; other = this.#starting.get(key)) {
      await other.catch(() => {})
    }
    const starting = this.#startOnce(vm, request.execId, request)
    this.#starting.set(key, starting)
    try {
      return await starting
    } finally {
      this.#starting.delete(key)
    }
  }

  /** Attaches if there is a process of this id already. */
  async #startOnce(vm: VmRecord, execId: string, request: ExecStart): Promise<AgentExecSession> {
    const runtime = this.#parts.runtimes.reachable(vm, 'run a command in')
    const known = await this.#knownOf(runtime, await runtime.guest.session())
    if (known.has(execId)) return this.#attach(vm, execId, { stdoutOffset: 0, stderrOffset: 0 })
    return this.#start(vm, execId, request)
  }

  async #start(vm: VmRecord, execId: string, request: ExecStart): Promise<AgentExecSession> {
    const runtime = this.#parts.runtimes.reachable(vm, 'run a command in')
    const session = await runtime.guest.session()
    let attached: AgentExecSession | undefined
    const args = typeof request.command === 'string' ? ['/bin/sh', '-c', request.command] : request.command
    const startedMs = performance.now()
    const process = await AgentProcess.start(session, {
      args,
      env: request.environment,
      cwd: request.cwd,
      user: request.user,
      tag: execId,
      terminal: request.pty === undefined ? undefined : { columns: request.pty.cols, rows: request.pty.rows },
      detached: request.detached,
      stdin: request.stdin,
      onStdinAck: (offset) => attached?.acknowledgeStdin(offset),
    })
    this.#known.get(runtime)?.set(execId, process.processId)
    const exec: Exec = {
      execId,
      argv: args,
      state: 'running',
      pid: process.pid,
      detached: request.detached,
      attached: true,
      pty: request.pty !== undefined,
      startedAt: new Date(this.#parts.context.clock.nowMs()).toISOString(),
      offsets: { stdin: 0, stdout: 0, stderr: 0 },
    }
    attached = this.#register(vm, exec, process, request.timeoutMs)
    const isFirst = !this.#used.has(runtime)
    this.#used.add(runtime)
    if (isFirst) {
      process.exit.then(
        () => {
          this.#parts.context.measure({ kind: 'first-exec', ms: performance.now() - startedMs })
          this.#parts.restores.mark(vm.id, 'firstExec')
        },
        () => {},
      )
    }
    return attached
  }

  /** The vm is in use until the session is over. */
  attach(of: VmRecord, execId: string, attach: ExecAttach): Promise<ExecSession> {
    return this.#attached(of, (vm) => this.#attach(vm, execId, attach))
  }

  async #attached(of: VmRecord, open: (vm: VmRecord) => Promise<AgentExecSession>): Promise<ExecSession> {
    using opening = new DisposableStack()
    const call = opening.use(await this.#parts.calls.begin(of))
    const session = await open(call.vm)
    opening.move()
    void session.over.then(() => call[Symbol.dispose]())
    return session
  }

  async #attach(vm: VmRecord, execId: string, attach: ExecAttach): Promise<AgentExecSession> {
    const session = await this.#parts.runtimes.session(vm, 'attach to a command in')
    const info = await this.#find(session, vm, execId)
    await this.#sessions.get(keyOf(vm, execId))?.release('lost')
    let attached: AgentExecSession | undefined
    const process = await AgentProcess.attach(session, {
      processId: info.processId,
      stdoutOffset: attach.stdoutOffset,
      stderrOffset: attach.stderrOffset,
      onStdinAck: (offset) => attached?.acknowledgeStdin(offset),
    })
    attached = this.#register(vm, { ...execView(info), attached: true }, process, undefined)
    return attached
  }

  async list(of: VmRecord): Promise<Exec[]> {
    using call = await this.#parts.calls.begin(of)
    const { vm } = call
    const session = await this.#parts.runtimes.session(vm, 'list the commands of')
    return (await listProcesses(session)).map(execView)
  }

  async signal(of: VmRecord, execId: string, signal: string): Promise<void> {
    using call = await this.#parts.calls.begin(of)
    const { vm } = call
    const session = await this.#parts.runtimes.session(vm, 'signal a command in')
    const info = await this.#find(session, vm, execId)
    await signalProcess(session, info.processId, signal, { wholeGroup: true })
  }

  async remove(of: VmRecord, execId: string): Promise<void> {
    using call = await this.#parts.calls.begin(of)
    const { vm } = call
    const runtime = this.#parts.runtimes.reachable(vm, 'forget a command of')
    const session = await runtime.guest.session()
    const info = await this.#find(session, vm, execId)
    if (info.state === 'running') {
      throw new RametError('ILLEGAL_STATE', {
        message: `${execId} of ${vm.name} still runs`,
        remediation: 'Signal it first, for example with SIGTERM.',
      })
    }
    await forgetProcess(session, info.processId)
    this.#known.get(runtime)?.delete(execId)
  }

  #register(vm: VmRecord, exec: Exec, process: AgentProcess, timeoutMs: number | undefined): AgentExecSession {
    const attached = new AgentExecSession(exec, process, timeoutMs)
    const key = keyOf(vm, exec.execId)
    this.#sessions.set(key, attached)
    this.#lost.delete(key)
    const runtime = this.#parts.runtimes.get(vm.id)
    attached.onLost = () => this.#awaitReturn(vm, exec.execId, { session: attached, runtime })
    const forget = () => {
      if (this.#sessions.get(key) === attached) this.#sessions.delete(key)
    }
    process.exit.then(forget, forget)
    return attached
  }

  /**
   * Whoever ran it has a while to come back; then it ends as if it had been closed. One that was let go of since its vm
   * was paused to disk is kept: nobody could come back.
   */
  #awaitReturn(
    vm: VmRecord,
    execId: string,
    lost: { session: AgentExecSession; runtime: VmRuntime | undefined },
  ): void {
    const { session, runtime } = lost
    const key = keyOf(vm, execId)
    this.#lost.set(key, session)
    // As if somebody were attached: it shall not have to be resumed for the signal.
    const hold = this.#parts.runtimes.uses.hold(vm.id)
    const timer = setTimeout(() => {
      using _ = hold
      if (this.#lost.get(key) !== session) return
      this.#lost.delete(key)
      if (this.#parts.runtimes.get(vm.id) !== runtime) return
      // It may have ended meanwhile, and so may its vm.
      this.signal(this.#parts.context.vms.get(vm.id) ?? vm, execId, 'SIGHUP').catch(() => {})
    }, this.#reattachMs)
    timer.unref()
  }

  /** Exec ids of a guest, asked once: afterwards only this daemon adds to them. */
  async #knownOf(runtime: VmRuntime, session: AgentSession): Promise<Map<string, number>> {
    const known = this.#known.get(runtime)
    if (known !== undefined) return known
    const listed = new Map((await listProcesses(session)).map((info) => [execIdOf(info), info.processId]))
    this.#known.set(runtime, listed)
    return listed
  }

  async #find(session: AgentSession, vm: VmRecord, execId: string): Promise<ProcessInfo> {
    const found = (await listProcesses(session)).find((info) => execIdOf(info) === execId)
    if (found !== undefined) return found
    throw new RametError('NOT_FOUND', {
      message: `${vm.name} has no command “${execId}”`,
      remediation: `See \`ramet ps ${vm.name}\` for those it has.`,
    })
  }
}

const keyOf = (vm: VmRecord, execId: string) => `${vm.id}/${execId}`

/** What was not started through this API (a template's start command) goes by its number. */
const execIdOf = (info: ProcessInfo) => (info.tag === '' ? `process-${info.processId}` : info.tag)

function execView(info: ProcessInfo): Exec {
  const { exit } = info
  return {
    execId: execIdOf(info),
    argv: [...info.args],
    state: info.state,
    pid: info.pid,
    ...(exit === undefined ? {} : 'exitCode' in exit ? { exitCode: exit.exitCode } : { signal: exit.signalName }),
    detached: info.detached,
    attached: info.attached,
    pty: info.terminal,
    startedAt: new Date(Number(info.startedNs / 1_000_000n)).toISOString(),
    offsets: info.offsets,
  }
}

import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { nodeNames } from '../../qemu/machine.ts'

const run = promisify(execFile)

/** Of the QMP commands about disks. */
export interface DiskArguments {
  'job-id'?: string
  'node-name'?: string
  'command-line'?: string
  device?: string
  id?: string
  'base-node'?: string
  options?: { 'node-name': string }[]
  actions?: { data: { node: string; overlay: string } }[]
}

interface Job {
  id: string
  status: string
  /** all but what changes hands */
  work: () => Promise<void>
  /** what does */
  end: () => Promise<void>
}

/**
 * The disks of a fake QEMU: the files are real, and jobs change them as QEMU's would, by its own tools. Which disk is
 * at which level is by the names that the engine gives to nodes.
 */
export class FakeDisks {
  /** a job under way stays so until it is cancelled */
  holdsJobs = false
  /** what every job ends with instead of its work, as QEMU says it: “No space left on device” */
  jobError: string | undefined
  readonly #dir: string
  readonly #emit: (event: string, data: object) => void
  /** level that each disk is written at */
  readonly #levels = new Map<number, number>()
  readonly #added = new Set<string>()
  /** nodes that a commit was to write to, and did not get as far as giving back */
  readonly #writable = new Set<string>()
  readonly #jobs = new Map<string, Job>()

  constructor(dir: string, emit: (event: string, data: object) => void) {
    this.#dir = dir
    this.#emit = emit
  }

  /** @returns undefined for what is no command about disks */
  execute(name: string, args: DiskArguments): unknown {
    switch (name) {
      case 'query-block':
        return this.#indices().map((index) => ({
          qdev: nodeNames.diskDevice(index),
          inserted: { 'node-name': nodeOf(index, this.#levels.get(index) ?? 0) },
        }))
      case 'query-named-block-nodes':
        return [...this.#indices().map((index) => nodeOf(index, 0)), ...this.#added].map((node) => ({
          'node-name': node,
          ro: !this.#writable.has(node),
        }))
      case 'blockdev-add':
        this.#added.add(args['node-name'] ?? '')
        return {}
      case 'blockdev-del':
        this.#added.delete(args['node-name'] ?? '')
        return {}
      case 'transaction':
        for (const { data } of args.actions ?? []) this.#levels.set(...placeOf(data.overlay))
        return {}
      case 'blockdev-reopen':
        for (const options of args.options ?? []) this.#writable.delete(options['node-name'])
        return {}
      case 'query-jobs':
        return [...this.#jobs.values()].map(({ id, status }) => ({ id, status }))
      case 'block-commit':
        this.#writable.add(args['base-node'] ?? '')
        return this.#begin(args['job-id'] ?? '', 'ready', this.#commit(args.device ?? ''))
      case 'block-stream':
        return this.#begin(args['job-id'] ?? '', 'running', this.#stream(args.device ?? ''))
      case 'job-complete':
        return this.#work(args.id ?? '')
      case 'job-finalize':
        return this.#finalize(args.id ?? '')
      case 'human-monitor-command':
        return args['command-line']?.startsWith('qemu-io ') ? '' : undefined
      case 'block-job-cancel':
        return this.#cancel(args.device ?? '')
      default:
        return undefined
    }
  }

  #indices(): number[] {
    return [0, 1, 2, 3].filter((index) => existsSync(join(this.#dir, fileOf(index, 0))))
  }

  #begin(id: string, status: 'ready' | 'running', steps: Pick<Job, 'work' | 'end'>): object {
    if (this.#jobs.has(id)) throw new Error(`there is a job ${id}`)
    this.#jobs.set(id, { id, status, ...steps })
    this.#emit('JOB_STATUS_CHANGE', { id, status })
    if (status === 'running') this.#work(id)
    return {}
  }

  #work(id: string): object {
    const job = this.#jobOf(id)
    if (this.holdsJobs) return {}
    const error = this.jobError
    if (error !== undefined) this.#over(id, 'BLOCK_JOB_COMPLETED', { error })
    else
      job.work().then(
        () => {
          job.status = 'pending'
          this.#emit('JOB_STATUS_CHANGE', { id, status: 'pending' })
        },
        (cause: unknown) => this.#over(id, 'BLOCK_JOB_COMPLETED', { error: String(cause) }),
      )
    return {}
  }

  #finalize(id: string): object {
    this.#jobOf(id)
      .end()
      .then(
        () => this.#over(id, 'BLOCK_JOB_COMPLETED'),
        (cause: unknown) => this.#over(id, 'BLOCK_JOB_COMPLETED', { error: String(cause) }),
      )
    return {}
  }

  #jobOf(id: string): Job {
    const job = this.#jobs.get(id)
    if (job === undefined) throw new Error(`there is no job ${id}`)
    return job
  }

  #cancel(id: string): object {
    if (!this.#jobs.has(id)) throw new Error(`there is no job ${id}`)
    this.#over(id, 'BLOCK_JOB_CANCELLED')
    return {}
  }

  #over(id: string, event: string, data: object = {}): void {
    this.#jobs.delete(id)
    this.#emit(event, { device: id, ...data })
    this.#emit('JOB_STATUS_CHANGE', { id, status: 'null' })
  }

  #commit(node: string): Pick<Job, 'work' | 'end'> {
    const [index, level] = placeOf(node)
    return {
      // -d: the guest still has it, until its node is deleted.
      work: async () =>
        void (await run('qemu-img', ['commit', '-q', '-d', '-f', 'qcow2', join(this.#dir, fileOf(index, level))])),
      end: async () => void this.#levels.set(index, level - 1),
    }
  }

  /** Only of disks that stand on no base at the end. */
  #stream(node: string): Pick<Job, 'work' | 'end'> {
    const [index, level] = placeOf(node)
    return {
      work: async () => {},
      end: async () =>
        void (await run('qemu-img', ['rebase', '-f', 'qcow2', '-b', '', join(this.#dir, fileOf(index, level))])),
    }
  }
}

const nodeOf = (index: number, level: number) => `${nodeNames.disk(index)}${level === 0 ? '' : `-${level}`}`
const fileOf = (index: number, level: number) => `disk${index}${level === 0 ? '' : `.${level}`}.qcow2`

function placeOf(node: string): [index: number, level: number] {
  const [, index = '', level = '0'] = /^disk(\d+)(?:-(\d+))?$/.exec(node) ?? []
  return [Number(index), Number(level)]
}

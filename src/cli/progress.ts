import type { Operation, Progress as Stage } from '../client/index.ts'
import { formatBytes } from '../shared/limits.ts'
import type { Io } from './io.ts'

/** What is over sooner needs no explaining. */
const silenceMs = 400

/** Shows on stderr how far an operation is: one line that changes on a terminal, else a line a stage. */
export class Progress {
  readonly #io: Io
  readonly #silent: boolean
  readonly #silenceMs: number
  #timer: NodeJS.Timeout | undefined
  #shownStage = ''
  #lineIsOpen = false
  /** the operation last heard of */
  operation: Operation | undefined

  constructor(io: Io, options: { silent: boolean; silenceMs?: number }) {
    this.#io = io
    this.#silent = options.silent
    this.#silenceMs = options.silenceMs ?? silenceMs
  }

  /** A listener for one action, described as `what`. */
  follow(what: string): (stage: Stage, operation: Operation) => void {
    let latest = ''
    let stageName = ''
    let patient = true
    const show = () => this.#show(`${what}: ${latest}`, stageName)
    return (stage, operation) => {
      this.operation = operation
      if (this.#silent) return
      latest = describeStage(stage)
      stageName = `${operation.id} ${stage.stage}`
      if (!patient) return show()
      if (this.#timer !== undefined) return
      this.#timer = setTimeout(() => {
        patient = false
        show()
      }, this.#silenceMs)
      this.#timer.unref()
    }
  }

  /** Takes the line away, so that something else can be written. */
  clear(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#lineIsOpen) this.#io.stderr.write('\r\u001b[K')
    this.#lineIsOpen = false
  }

  #show(text: string, stageName: string): void {
    if (this.#io.stderr.isTTY === true) {
      this.#io.stderr.write(`\r\u001b[K${text.slice(0, (this.#io.stderr.columns ?? 80) - 1)}`)
      this.#lineIsOpen = true
    } else if (stageName !== this.#shownStage) {
      this.#io.stderr.write(`${text}\n`)
    }
    this.#shownStage = stageName
  }
}

/** `downloading 40% (12 MiB of 30 MiB)` */
export function describeStage(stage: Stage): string {
  const words = [stage.message ?? stage.stage]
  if (stage.fraction !== undefined) words.push(`${Math.floor(stage.fraction * 100)}%`)
  if (stage.doneBytes !== undefined) {
    const of = stage.totalBytes === undefined ? '' : ` of ${formatBytes(stage.totalBytes)}`
    words.push(`(${formatBytes(stage.doneBytes)}${of})`)
  }
  return words.join(' ')
}

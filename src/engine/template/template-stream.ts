import { createHash } from 'node:crypto'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DeviceState } from '../../qemu/device-state.ts'
import { encodeStream, type PageRun } from '../../qemu/migration-stream/encode.ts'
import { errnoOf, RametError } from '../../shared/errors.ts'
import type { EngineContext } from '../context.ts'
import type { TemplateRecord } from '../records.ts'

export const streamFile = 'devices.stream'

/** The stream that each child of a template loads: devices and firmware; its memory comes from the base. */
export function templateStream(machine: string, state: DeviceState, romPages: readonly PageRun[]): Buffer {
  return Buffer.concat([...encodeStream({ machine, blocks: state.blocks, pages: romPages, deviceBlob: state.blob })])
}

export function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

export async function writeStream(dir: string, bytes: Buffer): Promise<void> {
  const file = await open(join(dir, streamFile), 'w', 0o600)
  try {
    await file.writeFile(bytes)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Streams of templates, read once and checked against their digests. */
export class StreamCache {
  readonly #context: EngineContext
  readonly #streams = new Map<string, Buffer>()

  constructor(context: EngineContext) {
    this.#context = context
  }

  /** @throws RametError `BASE_DAMAGED` */
  async of(template: TemplateRecord): Promise<Buffer> {
    const known = this.#streams.get(template.id)
    if (known !== undefined) return known
    const path = join(this.#context.paths.template(template.id), streamFile)
    const bytes = await readFile(path).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error
      throw damaged(template, `${streamFile} is missing`)
    })
    if (digestOf(bytes) !== template.streamDigest) throw damaged(template, `${streamFile} is not what was stored`)
    this.#streams.set(template.id, bytes)
    return bytes
  }

  forget(templateId: string): void {
    this.#streams.delete(templateId)
  }
}

function damaged(template: TemplateRecord, why: string): RametError {
  return new RametError('BASE_DAMAGED', { message: `template ${template.name} cannot be used: ${why}` })
}

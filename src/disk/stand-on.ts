import type { FileHandle } from 'node:fs/promises'
import { backingName } from './backing-name.ts'
import { withPlainFile } from './files.ts'
import { naming, readHeader } from './layer.ts'
import { rewriteHeader } from './qcow2/encode.ts'

/** Has a disk that nobody has open name `over` as what it stands on, durably. What it holds is not changed. */
export async function standOn(path: string, over: string): Promise<void> {
  await naming(path, () =>
    withPlainFile(path, 'write', async (handle) => {
      if (await nameBacking(handle, path, over)) await handle.sync()
    }),
  )
}

/** The same for a file that is being made. @returns whether it named another */
export async function nameBacking(handle: FileHandle, path: string, over: string): Promise<boolean> {
  const { header, start } = await readHeader(handle)
  const name = backingName(path, over)
  if (header.backing?.name === name) return false
  const area = rewriteHeader(start, header, { backing: { name, format: 'qcow2' } })
  await handle.write(area, 0, area.length, 0)
  return true
}

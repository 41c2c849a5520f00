import { readFile } from 'node:fs/promises'
import { RametError } from '../../shared/errors.ts'
import { list, type Values } from '../command.ts'
import { parsePair } from '../parse/pair.ts'

/** Files of this machine for children. */
export const fileOptions = {
  file: list('--file <guest=here>', 'put a file of this machine into each child; repeat for more', parsePair),
}

/** @throws RametError `INVALID_ARGUMENT` for one that cannot be read */
export async function filesRequest({ file }: Values<typeof fileOptions>) {
  return await Promise.all(file.map(async ([path, here]) => ({ path, contentBase64: await readBase64(here) })))
}

async function readBase64(file: string): Promise<string> {
  try {
    return (await readFile(file)).toString('base64')
  } catch (cause) {
    throw new RametError('INVALID_ARGUMENT', {
      message: `${file} cannot be read`,
      cause,
      remediation: 'Check the path.',
    })
  }
}

import { stat } from 'node:fs/promises'
import { RametError } from '../shared/errors.ts'

/** @throws RametError `INVALID_ARGUMENT` for what is no file */
export async function checkReadable(file: string): Promise<void> {
  try {
    if ((await stat(file)).isFile()) return
  } catch (cause) {
    throw new RametError('INVALID_ARGUMENT', {
      message: `${file} cannot be read`,
      cause,
      remediation: 'Check the path.',
    })
  }
  throw new RametError('INVALID_ARGUMENT', {
    message: `${file} is not a file`,
    remediation: 'Pack a directory with tar.',
  })
}

import { RametError } from '../../shared/errors.ts'

/**
 * The error of a file that is not what was written.
 *
 * @param file path or address, for the message
 * @param part what of it: `header`, `block 17`
 * @param why goes on after the part: `does not match its checksum`
 */
export function damaged(file: string, part: string, why: string, cause?: unknown): RametError {
  return new RametError('CHECKPOINT_DAMAGED', {
    message: `the ${part} of ${file} ${why}`,
    cause,
    details: { file, part, why },
  })
}

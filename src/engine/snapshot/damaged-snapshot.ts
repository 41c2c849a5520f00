import { isRametError, RametError } from '../../shared/errors.ts'

/** @returns the refusal of a snapshot whose checkpoint is missing or damaged; any other error as it is */
export function damagedSnapshot(name: string, error: unknown): unknown {
  if (!isRametError(error, 'CHECKPOINT_DAMAGED') && !isRametError(error, 'NOT_FOUND')) return error
  return new RametError('CHECKPOINT_DAMAGED', {
    message: `snapshot ${name} is damaged: ${error.message}`,
    cause: error,
    remediation: `Put the file back as it was; else nothing can be restored of it: \`ramet snapshot rm ${name}\`.`,
    details: { ...error.details, snapshot: name },
  })
}

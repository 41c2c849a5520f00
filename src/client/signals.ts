import { constants } from 'node:os'

/** Number of a signal by its name; 0 for one that this system does not know. */
export function signalNumber(name: string): number {
  return Object.entries(constants.signals).find(([known]) => known === name)?.[1] ?? 0
}

import { RametError } from '../../shared/errors.ts'

/** A parser of whole numbers within bounds. */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
    if (value >= least && value <= most) return value
    throw new RametError('INVALID_ARGUMENT', { message: `“${text}” is not a whole number from ${least} to ${most}` })
  }
}

/** A number above zero, such as `0.5`. @throws RametError `INVALID_ARGUMENT` */
export function positiveNumber(text: string): number {
  const value = /^\d*\.?\d+$/.test(text) ? Number(text) : 0
  if (value > 0) return value
  throw new RametError('INVALID_ARGUMENT', { message: `“${text}” is not a number above zero` })
}

/** A parser of one word out of a list. */
export function oneOf<const T extends string>(...words: readonly T[]): (text: string) => T {
  return (text) => {
    const word = words.find((candidate) => candidate === text)
    if (word !== undefined) return word
    throw new RametError('INVALID_ARGUMENT', { message: `“${text}” is none of ${words.join(', ')}` })
  }
}

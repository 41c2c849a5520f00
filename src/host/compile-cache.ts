import process from 'node:process'

/**
 * What a Node process of ours is told so that it keeps stripped and compiled code where this one does, by whoever started
 * this one: with it a start takes half the time. Nothing is kept where nobody has said so.
 */
export function compileCacheOf({ NODE_COMPILE_CACHE: dir }: NodeJS.ProcessEnv = process.env): Record<string, string> {
  return dir === undefined || dir === '' ? {} : { NODE_COMPILE_CACHE: dir }
}

import { dirname, join, relative, resolve } from 'node:path'

/**
 * How a disk names its base: relative to the disk's directory, always by way of the data directory.
 * As every disk lies two levels below that (`vms/<id>/`, `templates/<id>/`), the name stays true when
 * a vm's delta moves to a template, and when the data directory moves as a whole. It is the only
 * spelling that `openChain` takes.
 */
export function backingName(diskPath: string, basePath: string): string {
  const dataDirectory = dirname(dirname(dirname(resolve(diskPath))))
  return join('..', '..', relative(dataDirectory, resolve(basePath)))
}

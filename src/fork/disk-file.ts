/**
 * Name of a vm's delta in its directory, by the number of the disk. At rest a disk has level 0 only; while it
 * is forked, or while others still read its level 0, what the guest writes goes to a level above.
 */
export const diskFile = (index: number, level = 0): string =>
  level === 0 ? `disk${index}.qcow2` : `disk${index}.${level}.qcow2`

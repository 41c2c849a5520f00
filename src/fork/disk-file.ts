/** Name of a vm's delta in its directory, by the number of the disk. */
export const diskFile = (index: number): string => `disk${index}.qcow2`

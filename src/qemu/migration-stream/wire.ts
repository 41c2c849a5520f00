/** Numbers of QEMU's migration stream. All integers are big-endian. */

/** "QEVM", then the version of the format, 3 */
export const streamHeader = Buffer.from('5145564d00000003', 'hex')

export const sectionType = {
  eof: 0x00,
  start: 0x01,
  part: 0x02,
  end: 0x03,
  full: 0x04,
  subsection: 0x05,
  vmDescription: 0x06,
  configuration: 0x07,
  command: 0x08,
  footer: 0x7e,
} as const

/** Low bits of the u64 in front of each RAM record; the upper bits are an offset in bytes. */
export const ramFlag = { zero: 0x02, memSize: 0x04, page: 0x08, eos: 0x10, continue: 0x20 } as const

export const pageBytes = 4096
export const ramSectionName = 'ram'
export const ramSectionVersion = 4

/** Ours to choose, as long as no device in the blob has it; QEMU gives `ram` this one itself. */
export const ramSectionId = 2

/**
 * Archives in cpio's `newc` format, the one that the kernel unpacks as its initramfs. Written here, so that
 * no root and no device node on the host is needed, and that equal contents give equal bytes: owners are root,
 * times are zero, inode numbers count up in the order of the entries.
 */
import { assert } from '../../src/shared/assert.ts'

export type CpioEntry =
  /** `mode`: permission bits only */
  | { kind: 'directory'; path: string; mode?: number }
  | { kind: 'file'; path: string; mode?: number; data: Buffer }
  | { kind: 'symlink'; path: string; target: string }
  | { kind: 'character-device'; path: string; mode?: number; major: number; minor: number }

const fileTypes = { directory: 0o040000, file: 0o100000, symlink: 0o120000, 'character-device': 0o020000 } as const
const defaultModes = { directory: 0o755, file: 0o644, symlink: 0o777, 'character-device': 0o600 } as const
const endName = 'TRAILER!!!'
const alignmentBytes = 4
/** the kernel reads whole blocks of this size from some boot loaders; cpio pads to it too */
const blockBytes = 512

/** @param entries parents before what is in them; paths relative, without a leading slash */
export function writeCpio(entries: readonly CpioEntry[]): Buffer {
  const parts: Buffer[] = []
  const paths = new Set<string>()
  let inode = 1
  for (const entry of entries) {
    assert(isPlainPath(entry.path), `“${entry.path}” is a plain relative path`)
    assert(!paths.has(entry.path), `“${entry.path}” is in the archive once`)
    paths.add(entry.path)
    parts.push(header(entry, inode++), pad(dataOf(entry)))
  }
  parts.push(field(headerFields({ inode: 0, mode: 0, linkCount: 1, size: 0, major: 0, minor: 0 }), endName))
  const archive = Buffer.concat(parts)
  return Buffer.concat([archive, Buffer.alloc((blockBytes - (archive.length % blockBytes)) % blockBytes)])
}

function dataOf(entry: CpioEntry): Buffer {
  if (entry.kind === 'file') return entry.data
  return entry.kind === 'symlink' ? Buffer.from(entry.target) : Buffer.alloc(0)
}

function header(entry: CpioEntry, inode: number): Buffer {
  const permissions = ('mode' in entry ? entry.mode : undefined) ?? defaultModes[entry.kind]
  const isDevice = entry.kind === 'character-device'
  const fields = headerFields({
    inode,
    mode: fileTypes[entry.kind] | permissions,
    linkCount: entry.kind === 'directory' ? 2 : 1,
    size: dataOf(entry).length,
    major: isDevice ? entry.major : 0,
    minor: isDevice ? entry.minor : 0,
  })
  return field(fields, entry.path)
}

interface Header {
  inode: number
  mode: number
  linkCount: number
  size: number
  major: number
  minor: number
}

/** The thirteen numbers of a header in their order, without the name's length and the checksum. */
function headerFields(h: Header): number[] {
  const [uid, gid, mtime, deviceMajor, deviceMinor] = [0, 0, 0, 0, 0]
  return [h.inode, h.mode, uid, gid, h.linkCount, mtime, h.size, deviceMajor, deviceMinor, h.major, h.minor]
}

function field(fields: number[], name: string): Buffer {
  const nameBytes = Buffer.byteLength(name) + 1
  const numbers = [...fields, nameBytes, 0].map((value) => {
    assert(value >= 0 && value <= 0xffffffff, 'a cpio field has 32 bits')
    return value.toString(16).padStart(8, '0')
  })
  return pad(Buffer.from(`070701${numbers.join('')}${name}\0`))
}

function pad(data: Buffer): Buffer {
  const missing = (alignmentBytes - (data.length % alignmentBytes)) % alignmentBytes
  return missing === 0 ? data : Buffer.concat([data, Buffer.alloc(missing)])
}

function isPlainPath(path: string): boolean {
  return path !== '' && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
}

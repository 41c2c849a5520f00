import { z } from 'zod'
import { Bytes, GuestPath, Mode, Time } from './primitives.ts'

export const FileEntry = z
  .object({
    name: z.string().describe('Last part of the path.'),
    path: z.string().describe('Absolute path in the guest.'),
    kind: z.enum(['file', 'directory', 'symlink', 'other']).describe('Kind of entry.'),
    sizeBytes: Bytes,
    mode: Mode,
    uid: z.int().nonnegative().describe('Owner, number.'),
    gid: z.int().nonnegative().describe('Group, number.'),
    modifiedAt: Time.describe('When its content last changed.'),
    target: z.string().optional().describe('Where a symbolic link points.'),
  })
  .meta({ id: 'FileEntry', description: 'A file or directory in a guest.' })
export type FileEntry = z.infer<typeof FileEntry>

export const FileList = z
  .object({ items: z.array(FileEntry).describe('Entries, by name.') })
  .meta({ id: 'FileList', description: 'Entries of a directory.' })

export const FileMakeDirectory = z
  .strictObject({
    path: GuestPath,
    mode: Mode.optional().describe('Permission bits, as a number; 493 (octal 755) when left out.'),
    parents: z.boolean().default(true).describe('Make missing parents too, and accept that it exists.'),
  })
  .meta({ id: 'FileMakeDirectory', description: 'A directory to make.', examples: [{ path: '/srv/data' }] })
export type FileMakeDirectory = z.infer<typeof FileMakeDirectory>

export const FileRename = z
  .strictObject({ from: GuestPath, to: GuestPath })
  .meta({ id: 'FileRename', description: 'A file to rename, replacing what is there.' })
export type FileRename = z.infer<typeof FileRename>

/** How a file is written; the query of an upload. */
export interface FileWriteOptions {
  /** permission bits; those of the file that is there, else 0o644 */
  mode?: number | undefined
  /** user name or number that owns it; root when left out */
  user?: string | undefined
  /** make missing parent directories */
  parents?: boolean | undefined
  /** write from this byte on instead of replacing the file */
  offset?: number | undefined
}

/** Something that happened to a file that is watched. */
export const FileEvent = z
  .object({
    type: z
      .enum(['created', 'modified', 'removed', 'renamed', 'attributes', 'overflow'])
      .describe('What happened; overflow: events were lost, look for yourself.'),
    path: z.string().describe('Absolute path in the guest.'),
    to: z.string().optional().describe('New path, when renamed inside what is watched.'),
    kind: z.enum(['file', 'directory', 'unknown']).describe('What it happened to.'),
  })
  .meta({ id: 'FileEvent', description: 'Something that happened to a file that is watched.' })
export type FileEvent = z.infer<typeof FileEvent>

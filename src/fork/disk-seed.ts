/** How a child's disk begins: as a copy of a delta that stands still, or empty over one. Paths are absolute. */
export type DiskSeed =
  | {
      kind: 'copy'
      from: string
      /** what the copy shall stand on, if not by the same name as the original */
      over?: string
      reflink: boolean
    }
  | { kind: 'empty'; over: string }

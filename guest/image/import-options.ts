/** What to import, and how. */
export interface ImportOptions {
  /** tar file of a root file system (plain, gzip, xz, zstd, bzip2), ext4 file, raw disk, or qcow2 file */
  file: string
  /** process 1 of the guest; default `system` when the root has an init of its own, else `agent` */
  init?: 'agent' | 'system'
  /** for a partitioned disk, the guest's name of the root: `/dev/vda1`; default the only ext4 on it */
  rootDevice?: string
  /** size of the guest's disk; default 4 GiB or more for a tar file, else as it is */
  diskBytes?: number
}

/** How long a running guest stands still for a snapshot, and for a fork, in one run; milliseconds. */
export interface PauseSeries {
  snapshotMs: number[]
  forkMs: number[]
}

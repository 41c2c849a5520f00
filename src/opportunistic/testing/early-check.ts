/** Readers that compare before they copy: what the real ones must not do, to show that the stress would notice. */
import { FramePool } from '../frame-pool.ts'
import { KernelArena } from '../kernel-arena.ts'

export class EarlyCheckPool extends FramePool {
  protected override copyChecked(
    ...[frame, copies, copyAt, into, at, length]: Parameters<FramePool['copyChecked']>
  ): boolean {
    if (!this.isCurrent(frame, copies, copyAt)) return false
    this.copyFrame(frame, into, at, length)
    return true
  }
}

export class EarlyCheckArena extends KernelArena {
  protected override copyChecked(
    ...[slot, length, handles, handleAt, into, at]: Parameters<KernelArena['copyChecked']>
  ): boolean {
    if (!this.isWhole(slot, length, handles, handleAt)) return false
    this.copySlot(slot, length, into, at)
    return true
  }
}

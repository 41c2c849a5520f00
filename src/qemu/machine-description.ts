/**
 * What a guest's hardware is. Split in two: what device state freezes (a template and its children agree
 * on it to the byte), and what each process is given of its own.
 */

/** The frozen part: stored with a template, the same for all its children. Plain JSON. */
export interface MachineDescription {
  /** versioned machine type, for example `pc-q35-7.2` */
  readonly machine: string
  readonly accelerator: 'kvm' | 'tcg'
  /** QEMU cpu model; default by accelerator */
  readonly cpuModel?: string
  readonly cpuCount: number
  /** up to this many can be plugged in later; at least `cpuCount` */
  readonly cpuMaxCount: number
  /** size of guest RAM, from `guestMemoryBytes` */
  readonly memoryBytes: number
  /** slots for memory plugged in later */
  readonly memorySlotCount: number
  /** most memory the guest can ever have; equals `memoryBytes` when there are no slots */
  readonly memoryMaxBytes: number
  readonly diskCount: number
  readonly nicCount: number
  /** spare PCIe root ports for devices plugged in later */
  readonly sparePortCount: number
}

/** The part of its own: paths, sockets and identity of one process. */
export interface MachineSeat {
  readonly boot: Boot
  readonly memory: MemorySource
  /** one a disk, in order; as many as `diskCount` */
  readonly disks: readonly DiskSource[]
  /** one a NIC, in order; as many as `nicCount` */
  readonly nics: readonly NicSource[]
  /** generation id (UUID) that the guest's vmgenid device shows */
  readonly generationId: string
  /** waits for device state on inherited descriptor `incomingFd` instead of booting */
  readonly incoming: boolean
}

export type Boot =
  | { readonly kind: 'kernel'; readonly kernelPath: string; readonly initrdPath?: string; readonly append: string }
  /** a firmware image in place of the BIOS */
  | { readonly kind: 'firmware'; readonly biosPath: string }

export type MemorySource =
  /** fresh zeroed memory of the process's own */
  | { readonly kind: 'anonymous' }
  /** an immutable base, mapped privately, open as inherited descriptor `memoryFd` */
  | { readonly kind: 'base' }

export interface DiskSource {
  /** qcow2 file; relative to the directory of the vm where possible. Its backing chain opens by itself. */
  readonly path: string
  readonly readOnly?: boolean
}

export interface NicSource {
  /** `52:54:00:…`; device state brings the template's along, the agent sets the right one */
  readonly mac: string
  readonly network: /** a cable that ends nowhere: `isolated` and `none` */
    | { readonly kind: 'unconnected' }
    /** a stream socket of a user-mode network such as passt, framed as QEMU's `stream` netdev */
    | { readonly kind: 'stream'; readonly socketPath: string }
}

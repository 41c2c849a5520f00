import { assert } from '../shared/assert.ts'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import type { DiskSource, MachineDescription, MachineSeat, NicSource } from './machine-description.ts'

/** Files of a running machine, relative to the directory of its vm, which is QEMU's working directory. */
export const machineFiles = {
  qmp: 'qmp.sock',
  /** a second way in, of machines that are restored */
  rescue: 'rescue.sock',
  agent: 'agent.sock',
  log: 'qemu.log',
  deviceState: 'device.state',
  rom: 'rom.state',
}

/**
 * Descriptors that QEMU inherits, by number. Always the first two, so that the numbers never move; the last two
 * where this host can lend userfaultfd.
 */
export const inheritedFds = { incoming: 3, memory: 4, userfaultfd: 5, library: 6 } as const

/** Names inside QEMU that the other rooms use over QMP. */
export const nodeNames = {
  memory: 'mem',
  console: 'console',
  agentPort: 'org.ramet.agent.0',
  disk: (index: number) => `disk${index}`,
  diskDevice: (index: number) => `disk${index}-dev`,
  nic: (index: number) => `nic${index}`,
}

/**
 * Slots on the root bus, fixed for ever: a device's place in the bus is part of its name in device state.
 * 0x00 and 0x1f are the chipset's.
 */
const slots = { rng: 0x02, serial: 0x03, panic: 0x04, disk: 0x08, nic: 0x10, sparePort: 0x18 } as const

/** The console keeps this much of its newest output in QEMU, read by `ringbuf-read`; a power of two. */
export const consoleRingBytes = 256 * 1024

/** Translated code that one TCG process may hold; without a limit it grows towards 1 GiB. */
const translationCacheMiB = 32

/**
 * A kernel that sees memory slots above 4 GiB sets 64 MiB aside for bounce buffers, and writes zeros to
 * them: half of a small guest. No device here needs them.
 */
const kernelParameters = 'swiotlb=noforce'

const sandbox = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'

/**
 * The whole command line of a machine, without the program's name.
 *
 * @throws RametError `INVALID_ARGUMENT` when the two parts do not fit each other
 */
export function machineArguments(machine: MachineDescription, seat: MachineSeat): string[] {
  checkFit(machine, seat)
  const args = [
    ...['-no-user-config', '-nodefaults', '-display', 'none', '-vga', 'none'],
    ...[
      '-machine',
      `${machine.machine},memory-backend=${nodeNames.memory},vmport=off,smm=off,hpet=off,sata=off,smbus=off`,
    ],
    ...['-accel', accelerator(machine), '-cpu', cpuModelOf(machine)],
    ...[
      '-smp',
      `cpus=${machine.cpuCount},maxcpus=${machine.cpuMaxCount},sockets=1,cores=${machine.cpuMaxCount},threads=1`,
    ],
    ...['-object', memoryBackend(machine, seat), '-m', memorySize(machine)],
    ...['-rtc', 'base=utc,clock=host'],
    ...['-sandbox', sandbox, '-msg', 'timestamp=on'],
    // The process stays when its guest ends, so that whoever asks later, also another daemon, learns why.
    ...['-action', 'reboot=reset,shutdown=pause,panic=pause'],
    ...['-qmp', `unix:${machineFiles.qmp},server=on,wait=off`],
    ...(isRestored(seat) ? ['-qmp', `unix:${machineFiles.rescue},server=on,wait=off`] : []),
    ...bootArguments(seat),
    ...smallDevices(seat),
    ...seat.disks.flatMap((disk, index) => diskArguments(machine, disk, index)),
    ...seat.nics.flatMap(nicArguments),
    ...sparePorts(machine),
    // Nothing runs before the daemon says so.
    '-S',
    ...(seat.incoming ? ['-incoming', 'defer'] : []),
  ]
  checkSharedBaseRules(args, seat)
  return args
}

/** Its memory comes to it too, page by page. */
const isRestored = (seat: MachineSeat) => seat.incoming && seat.memory.kind === 'anonymous'

function checkFit(machine: MachineDescription, seat: MachineSeat): void {
  const demands: [boolean, string][] = [
    [/^pc-q35-\d+\.\d+$/.test(machine.machine), 'the machine type is versioned'],
    [machine.cpuCount >= 1 && machine.cpuCount <= machine.cpuMaxCount, 'cpus within maxcpus'],
    [machine.cpuMaxCount <= limits.cpuMaxCount, `at most ${limits.cpuMaxCount} cpus`],
    [machine.memoryBytes % 8192 === 0 && machine.memoryBytes <= machine.memoryMaxBytes, 'memory size'],
    [machine.memorySlotCount === 0 || machine.memoryMaxBytes > machine.memoryBytes, 'room for the memory slots'],
    [machine.diskCount === seat.disks.length && machine.diskCount <= limits.diskMaxCount, 'number of disks'],
    [machine.nicCount === seat.nics.length && machine.nicCount <= limits.nicMaxCount, 'number of NICs'],
    [machine.sparePortCount >= 0 && machine.sparePortCount <= 8, 'number of spare ports'],
    // Values that are pasted into QEMU's option syntax must not be able to add options.
    [machine.cpuModel === undefined || /^[\w.-]+(,[\w.+-]+(=[\w.-]+)?)*$/.test(machine.cpuModel), 'cpu model'],
    [/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(seat.generationId), 'generation id'],
    [seat.nics.every((nic) => /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(nic.mac)), 'MAC'],
  ]
  for (const [holds, what] of demands)
    if (!holds) throw new RametError('INVALID_ARGUMENT', { message: `machine description: ${what}` })
}

/** QEMU's model of the processor, with its flags: `max`, `host,migratable=on`. */
export function cpuModelOf({ cpuModel, accelerator }: MachineDescription): string {
  return cpuModel ?? (accelerator === 'kvm' ? 'host,migratable=on' : 'max')
}

function accelerator(machine: MachineDescription): string {
  if (machine.accelerator === 'kvm') return 'kvm'
  return `tcg,thread=multi,tb-size=${translationCacheMiB}`
}

/** The block has the same name and length either way, so device state loads over both. */
function memoryBackend(machine: MachineDescription, seat: MachineSeat): string {
  const common = `id=${nodeNames.memory},size=${machine.memoryBytes},share=off,merge=off,dump=off,prealloc=off`
  if (seat.memory.kind === 'anonymous') return `memory-backend-ram,${common}`
  return `memory-backend-file,${common},mem-path=/proc/self/fd/${inheritedFds.memory}`
}

function memorySize(machine: MachineDescription): string {
  const sizeKiB = `size=${machine.memoryBytes / 1024}k`
  if (machine.memorySlotCount === 0) return sizeKiB
  return `${sizeKiB},slots=${machine.memorySlotCount},maxmem=${machine.memoryMaxBytes / 1024}k`
}

function bootArguments(seat: MachineSeat): string[] {
  const { boot } = seat
  if (boot.kind === 'firmware') return ['-bios', boot.biosPath]
  const initrd = boot.initrdPath === undefined ? [] : ['-initrd', boot.initrdPath]
  return ['-kernel', boot.kernelPath, ...initrd, '-append', `${boot.append} ${kernelParameters}`.trim()]
}

function smallDevices(seat: MachineSeat): string[] {
  return [
    ...[
      '-chardev',
      `ringbuf,id=${nodeNames.console},size=${consoleRingBytes}`,
      '-serial',
      `chardev:${nodeNames.console}`,
    ],
    ...['-object', 'rng-random,id=rng0,filename=/dev/urandom'],
    ...['-device', `virtio-rng-pci-non-transitional,id=rng,rng=rng0,bus=pcie.0,addr=${hex(slots.rng)}`],
    ...['-chardev', `socket,id=agent,path=${machineFiles.agent},server=on,wait=off`],
    ...['-device', `virtio-serial-pci-non-transitional,id=serial0,max_ports=2,bus=pcie.0,addr=${hex(slots.serial)}`],
    ...['-device', `virtserialport,id=agent-port,bus=serial0.0,nr=1,chardev=agent,name=${nodeNames.agentPort}`],
    ...['-device', `pvpanic-pci,id=panic,bus=pcie.0,addr=${hex(slots.panic)}`],
    ...['-device', `vmgenid,id=generation,guid=${seat.generationId}`],
  ]
}

function diskArguments(machine: MachineDescription, disk: DiskSource, index: number): string[] {
  const node = {
    driver: 'qcow2',
    'node-name': nodeNames.disk(index),
    'read-only': disk.readOnly === true,
    discard: 'unmap',
    // Chains are at most two deep at rest; the backing file's own file is found by its relative name.
    file: { driver: 'file', filename: disk.path, 'node-name': `${nodeNames.disk(index)}-file`, discard: 'unmap' },
  }
  const queues = machine.cpuCount > 4 ? 4 : machine.cpuCount
  const device = [
    `virtio-blk-pci-non-transitional,id=${nodeNames.diskDevice(index)},drive=${nodeNames.disk(index)}`,
    `bus=pcie.0,addr=${hex(slots.disk + index)},num-queues=${queues},write-cache=on,serial=ramet-${index}`,
  ]
  return ['-blockdev', JSON.stringify(node), '-device', device.join(',')]
}

function nicArguments(nic: NicSource, index: number): string[] {
  const id = nodeNames.nic(index)
  const netdev =
    nic.network.kind === 'unconnected'
      ? `hubport,id=net${index},hubid=${index}`
      : `stream,id=net${index},server=off,addr.type=unix,addr.path=${escapeComma(nic.network.socketPath)}`
  const device = `virtio-net-pci-non-transitional,id=${id},netdev=net${index},mac=${nic.mac},romfile=,bus=pcie.0,addr=${hex(slots.nic + index)}`
  return ['-netdev', netdev, '-device', device]
}

function sparePorts(machine: MachineDescription): string[] {
  return Array.from({ length: machine.sparePortCount }, (_, index) => [
    '-device',
    `pcie-root-port,id=spare${index},chassis=${index + 1},slot=${index + 1},bus=pcie.0,multifunction=on,addr=${hex(slots.sparePort)}.${index}`,
  ]).flat()
}

/**
 * Each of these punches holes into the file behind guest RAM, also behind a private mapping, and so would
 * wipe a base under all its children.
 */
function checkSharedBaseRules(args: readonly string[], seat: MachineSeat): void {
  const text = args.join('\n')
  assert(!/virtio-balloon|free-page-reporting|virtio-mem|virtio-pmem/.test(text), 'no device gives guest pages back')
  assert(!/postcopy/.test(text), 'postcopy never writes into a base')
  assert(!/share=on|prealloc=on/.test(text), 'guest RAM is private')
  assert(!/\bexec:/.test(text), 'QEMU starts no program')
  assert(seat.memory.kind === 'anonymous' || text.includes('share=off'), 'a base is mapped privately')
}

const hex = (slot: number) => `0x${slot.toString(16)}`

/** QEMU's option syntax doubles a comma that is meant. */
const escapeComma = (path: string) => path.replaceAll(',', ',,')

/** Just enough of `bpf(2)` to give a control group a filter of packets. */
import { arch } from 'node:process'
import koffi from 'koffi'
import { check } from './libc.ts'

const libc = koffi.load('libc.so.6')

const loadAttributes = koffi.struct('RametBpfLoad', {
  prog_type: 'uint32',
  insn_cnt: 'uint32',
  insns: 'void *',
  license: 'void *',
  log_level: 'uint32',
  log_size: 'uint32',
  log_buf: 'void *',
  kern_version: 'uint32',
  prog_flags: 'uint32',
})
const attachAttributes = koffi.struct('RametBpfAttach', {
  target_fd: 'uint32',
  attach_bpf_fd: 'uint32',
  attach_type: 'uint32',
  attach_flags: 'uint32',
})

type BpfCall = (number: number, command: number, attributes: object, size: number) => number
const bpfLoadRaw: BpfCall = libc.func('syscall', 'long', ['long', 'int', 'RametBpfLoad *', 'unsigned int'])
const bpfAttachRaw: BpfCall = libc.func('syscall', 'long', ['long', 'int', 'RametBpfAttach *', 'unsigned int'])

const sysBpf = arch === 'arm64' ? 280 : 321
const programLoad = 5
const programAttach = 8
const typeCgroupPackets = 8
const attachEgress = 1

/**
 * Checks a program with the kernel and loads it. It lives as long as the descriptor, or what it is attached to.
 *
 * @returns a descriptor; the caller closes it
 * @throws ErrnoError `EPERM` without the privilege, `EINVAL` or `EACCES` for a program that the kernel refuses
 */
export function loadPacketFilter(instructions: Buffer): number {
  const attributes = {
    prog_type: typeCgroupPackets,
    insn_cnt: instructions.length / 8,
    insns: instructions,
    license: Buffer.from('Apache-2.0\0'),
    log_level: 0,
    log_size: 0,
    log_buf: null,
    kern_version: 0,
    prog_flags: 0,
  }
  return Number(check('bpf', bpfLoadRaw(sysBpf, programLoad, attributes, koffi.sizeof(loadAttributes)), 'load'))
}

/**
 * Has a program judge every packet that a socket made by a process of the group sends. It replaces the
 * one that was attached in the same way, and ends with the group.
 *
 * @param groupFd descriptor of the directory of a version 2 control group
 * @throws ErrnoError `EPERM` also when a group above insists on a program of its own
 */
export function attachEgressFilter(groupFd: number, programFd: number): void {
  const attributes = { target_fd: groupFd, attach_bpf_fd: programFd, attach_type: attachEgress, attach_flags: 0 }
  check('bpf', bpfAttachRaw(sysBpf, programAttach, attributes, koffi.sizeof(attachAttributes)), 'attach')
}

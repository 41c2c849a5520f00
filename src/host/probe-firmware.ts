/**
 * A firmware of one thought, to see whether an accelerator really runs guests: it enters 64-bit mode with
 * paging, counts to five million, and writes a byte to QEMU's debug exit port.
 *
 * Counting matters. Where KVM has no hardware below it, real mode and single instructions still work,
 * because the host kernel emulates them one by one; a kernel would take hours. Hardware counts that far
 * in a few ms, TCG in some 30, such a host in ten seconds or never.
 */

const imageBytes = 64 * 1024
/** The image is seen here too, below 1 MiB, besides its place under 4 GiB. */
const shadowAddress = 0xf0000

const realModeAt = 0x1000
const longModeAt = 0x4000
const gdtPointerAt = 0x8000
const gdtAt = 0x8010

export const exitPort = 0xf4
const exitValue = 0x10
/** isa-debug-exit ends QEMU with (value << 1) | 1. */
export const firmwareExitCode = (exitValue << 1) | 1

const roundCount = 5_000_000

function u16(value: number): number[] {
  return [value & 0xff, (value >> 8) & 0xff]
}

function u32(value: number): number[] {
  return [...u16(value & 0xffff), ...u16(value >>> 16)]
}

/** Code for 16-bit mode; 0x66 makes an operand 32 bits wide. */
const realMode = [
  [0xfa], // cli
  [0x31, 0xc0, 0x8e, 0xd8], // xor ax, ax; mov ds, ax
  // Page tables in RAM: one 2 MiB page at address 0, mapped to itself.
  [0x66, 0xc7, 0x06, ...u16(0x1000), ...u32(0x2003)], // mov dword [0x1000], table at 0x2000
  [0x66, 0xc7, 0x06, ...u16(0x2000), ...u32(0x3003)], // mov dword [0x2000], table at 0x3000
  [0x66, 0xc7, 0x06, ...u16(0x3000), ...u32(0x83)], // mov dword [0x3000], large page at 0
  [0x2e, 0x66, 0x0f, 0x01, 0x16, ...u16(gdtPointerAt)], // lgdt [cs:pointer]
  [0x66, 0xb8, ...u32(0x20), 0x0f, 0x22, 0xe0], // mov eax, PAE; mov cr4, eax
  [0x66, 0xb8, ...u32(0x1000), 0x0f, 0x22, 0xd8], // mov eax, 0x1000; mov cr3, eax
  [0x66, 0xb9, ...u32(0xc0000080), 0x0f, 0x32], // mov ecx, EFER; rdmsr
  [0x66, 0x0d, ...u32(0x100), 0x0f, 0x30], // or eax, LME; wrmsr
  [0x66, 0xb8, ...u32(0x80000011), 0x0f, 0x22, 0xc0], // mov eax, PG|ET|PE; mov cr0, eax
  [0x66, 0xea, ...u32(shadowAddress + longModeAt), ...u16(8)], // jmp 8:long mode
].flat()

const longMode = [
  [0xb9, ...u32(roundCount)], // mov ecx, rounds
  [0xff, 0xc9, 0x75, 0xfc], // dec ecx; jnz the line itself
  [0xb0, exitValue, 0xe6, exitPort], // mov al, value; out port, al
  [0xf4, 0xeb, 0xfd], // hlt; jmp to it
].flat()

/** The image for QEMU's `-bios`. */
export function probeFirmware(): Buffer {
  const image = Buffer.alloc(imageBytes, 0xf4)
  image.set(realMode, realModeAt)
  image.set(longMode, longModeAt)
  image.set([...u16(23), ...u32(shadowAddress + gdtAt)], gdtPointerAt)
  // Segments: none; 64-bit code; data. Marked as accessed already, for the table cannot be written.
  image.set([...u32(0), ...u32(0), ...u32(0), ...u32(0x00209b00), ...u32(0), ...u32(0x00009300)], gdtAt)
  image.set([0xea, ...u16(realModeAt), ...u16(shadowAddress >> 4)], imageBytes - 16) // reset vector: jmp real mode
  return image
}

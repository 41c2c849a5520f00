/**
 * A guest of two hundred bytes for tests: a firmware image that counts at address 0x8000, writes each
 * count into one of 4,096 pages from 0x200000 on, and prints it in hex on the serial port. A second
 * processor, where there is one, counts at 0x8004. It is its own source: assembled by hand, in order.
 */
const code = `
fa fc              cli; cld
31 c0 8e d8        xor ax,ax; mov ds,ax
8e c0 8e d0        mov es,ax; mov ss,ax
bc 00 70           mov sp,7000h
be ac 00           mov si,ap                 the second processor's code ...
bf 00 90 b9 0d 00  mov di,9000h; mov cx,13   ... goes where its start vector points
2e f3 a4           rep cs movsb
2e 66 0f 01 16 d0 00  lgdt cs:[gdtr]         a moment of protected mode lifts the limit of fs to 4 GiB
0f 20 c0 0c 01 0f 22 c0  mov eax,cr0; or al,1; mov cr0,eax
eb 00              jmp +0
bb 08 00 8e e3     mov bx,8; mov fs,bx
24 fe 0f 22 c0     and al,0feh; mov cr0,eax
ea 39 00 00 f0     jmp f000h:+0
66 bb 00 00 e0 fe  mov ebx,0fee00000h        local APIC
64 67 66 c7 83 00 03 00 00 00 45 0c 00  mov dword fs:[ebx+300h],0c4500h   INIT to all others
66 b9 50 c3 00 00  mov ecx,50000
66 49 75 fc        dec ecx; jnz -4
64 67 66 c7 83 00 03 00 00 09 46 0c 00  mov dword fs:[ebx+300h],0c4609h   start at 9000h
66 ff 06 00 80     loop: inc dword [8000h]
66 8b 2e 00 80     mov ebp,[8000h]
66 89 eb 66 81 e3 ff 0f 00 00  mov ebx,ebp; and ebx,0fffh
66 c1 e3 0c        shl ebx,12
64 67 66 89 ab 00 00 20 00  mov fs:[ebx+200000h],ebp
b9 08 00 ba f8 03  mov cx,8; mov dx,3f8h
66 c1 c5 04 89 e8 24 0f  digit: rol ebp,4; mov ax,bp; and al,15
04 30 3c 39 76 02 04 27  add al,'0'; cmp al,'9'; jbe +2; add al,39
ee e2 ed           out dx,al; loop digit
b0 0a ee           mov al,10; out dx,al
66 b9 a0 86 01 00  mov ecx,100000
66 49 75 fc        dec ecx; jnz -4
eb b7              jmp loop
31 c0 8e d8        ap: xor ax,ax; mov ds,ax
66 ff 06 04 80     inc dword [8004h]
f3 90 eb f7        pause; jmp -9
8d b4 00 00 8d 74 00                          filler to a multiple of eight
00 00 00 00 00 00 00 00  gdt: nothing
ff ff 00 00 00 92 cf 00       all of memory
0f 00 c0 00 0f 00  gdtr: 15, 0f00c0h
`

const imageBytes = 128 * 1024

/** The image for `-bios`: mapped below 1 MiB with the code at f000:0000 and the reset vector at its end. */
export function countingFirmware(): Buffer {
  const image = Buffer.alloc(imageBytes, 0xff)
  const lines = code.trim().split('\n')
  const bytes = lines.flatMap((line) => /^((?:[0-9a-f]{2} )*[0-9a-f]{2})(?: {2,}|$)/.exec(line)?.[1]?.split(' ') ?? [])
  Buffer.from(bytes.join(''), 'hex').copy(image, imageBytes - 0x10000)
  Buffer.from('ea000000f0', 'hex').copy(image, imageBytes - 16)
  return image
}

/** Guest-physical addresses that tests look at. */
export const counting = {
  counterAddress: 0x8000,
  secondCounterAddress: 0x8004,
  trailAddress: 0x200000,
  trailPages: 4096,
}

import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { openCgroups } from './cgroups.ts'
import { countDescriptors } from './descriptors.ts'
import { parseMeminfo } from './meminfo.ts'
import { probeHost } from './probe-host.ts'
import { hugePageFinding, memoryFinding, userfaultfdFinding } from './probe-memory.ts'
import { canReflink, findProgram, programsFinding } from './probe-storage.ts'
import { parseQemu, qemuFinding } from './qemu-binary.ts'
import { defaultUidRange } from './uids.ts'

test('this host is looked at whole, and nothing is left behind', async (t) => {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'ramet-probes-'))
  t.after(() => rmSync(dataDirectory, { recursive: true }))
  const descriptors = countDescriptors('self')
  const findings = await probeHost({
    dataDirectory,
    accelerator: async () => ({ accelerator: 'tcg', finding: 'not looked at here' }),
    cgroups: openCgroups({ hierarchies: [] }),
    userfaultfd: async () => ({ why: 'not looked at here' }),
    uidRange: defaultUidRange,
    ...(process.geteuid?.() === 0 ? { user: { uid: 65534, gid: 65534 } } : {}),
  })
  for (const finding of findings) {
    t.diagnostic(`${finding.level} ${finding.name}: ${finding.finding} ${finding.remedy}`)
    assert.equal(finding.ok, finding.level === 'ok')
    assert.equal(finding.remedy === '', finding.ok, finding.name)
  }
  assert.equal(new Set(findings.map(({ name }) => name)).size, findings.length)
  assert.equal(findings.find(({ name }) => name === 'qemu')?.ok, true)
  assert.equal(findings.find(({ name }) => name === 'memfd')?.ok, true)
  assert.deepEqual(readdirSync(dataDirectory), [])
  assert.equal(countDescriptors('self'), descriptors)
  assert.equal(readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim(), '')
})

test('the QEMU must be new enough and know q35', () => {
  const machines =
    'Supported machines are:\npc-q35-7.1  x\npc-q35-10.0  y\npc-q35-7.2  Standard\nq35  alias\npc-i440fx-7.2  z\n'
  const qemu = parseQemu('q', 'QEMU emulator version 7.2.22 (Debian)', machines)
  assert.deepEqual(qemu?.machines, ['pc-q35-10.0', 'pc-q35-7.2', 'pc-q35-7.1'])
  assert.equal(qemuFinding(qemu).ok, true)
  assert.equal(qemuFinding(parseQemu('q', 'version 7.1.0', machines)).level, 'missing')
  assert.equal(qemuFinding(parseQemu('q', 'version 9.0.0', 'none\n')).level, 'missing')
  assert.equal(qemuFinding(undefined).level, 'missing')
  assert.equal(parseQemu('q', 'something else', machines), undefined)
})

test('userfaultfd: lent by the daemon, or free for all; else what is missing is named', () => {
  const facts = { works: true, privileged: true, sysctl: '0', obstacle: undefined }
  assert.equal(userfaultfdFinding(facts).ok, true)
  assert.equal(userfaultfdFinding({ ...facts, obstacle: 'no', sysctl: '1' }).ok, true)
  const without = { ...facts, obstacle: '/dev/userfaultfd cannot be opened (EACCES)' }
  assert.equal(userfaultfdFinding(without).level, 'slow')
  assert.match(userfaultfdFinding({ ...without, works: false }).remedy, /kernel/)
  assert.match(userfaultfdFinding({ ...without, privileged: false, works: false }).remedy, /as root/)
  assert.match(userfaultfdFinding({ ...facts, obstacle: 'there is no compiler `cc`' }).remedy, /gcc/)
})

test('memory, huge pages, programs: what is short is named', () => {
  const memory = parseMeminfo('MemTotal:       24683656 kB\nMemFree: 1 kB\nMemAvailable:    1048576 kB\nShmem: 8 kB\n')
  assert.deepEqual(memory, {
    totalBytes: 25276063744,
    availableBytes: 1 << 30,
    freeBytes: 1024,
    sharedBytes: 8192,
    swapFreeBytes: 0,
  })
  assert.equal(memoryFinding(memory).level, 'slow')
  assert.equal(memoryFinding({ ...memory, availableBytes: 8 * 1024 ** 3 }).ok, true)
  assert.equal(hugePageFinding('[always] within_size advise never deny force').level, 'slow')
  assert.equal(hugePageFinding('always within_size advise [never] deny force').ok, true)
  const finding = programsFinding({ sh: 'dash', nonesuch: 'none-package', other: 'none-package' })
  assert.equal(finding.finding, 'not installed: nonesuch, other')
  assert.equal(finding.remedy, 'Install them: apt-get install none-package')
  assert.match(findProgram('sh') ?? '', /\/sh$/)
})

test('a directory that cannot be written is an error of reflink, not a no', async () => {
  await assert.rejects(canReflink('/no-such-directory'), { code: 'ENOENT' })
})

import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { isStaticElf } from './agent-binary.ts'
import { parseTargets, suiteSources } from './apt.ts'
import { composeCmdline } from './cmdline.ts'
import { requireTools } from './host-tools.ts'
import { extractKernel } from './kernel-image.ts'
import { parseMetaPackage } from './kernel-package.ts'
import { testPlace } from './testing/fixtures.ts'

test('a mirror that the host uses is used, other parties’ repositories are not', () => {
  const targets = [
    'http://mirror.example/debian/|bookworm|main|Debian',
    'http://mirror.example/debian/|bookworm|contrib|Debian',
    'http://mirror.example/security/|bookworm-security|main|',
    'https://packages.example/|bookworm|main|Example',
    'http://mirror.example/debian/|trixie|main|Debian',
    'http://mirror.example/debian/|bookworm|main|Debian',
  ]
  assert.deepEqual(parseTargets(targets.join('\n')), [
    'deb http://mirror.example/debian/ bookworm main',
    'deb http://mirror.example/security/ bookworm-security main',
  ])
  assert.deepEqual(parseTargets(''), [])
})

test('a host without sources of the suite needs to be told of a mirror', async () => {
  const nothing = async () => ''
  assert.deepEqual(await suiteSources(nothing, undefined), [])
  const [line] = await suiteSources(nothing, 'http://mirror.example/debian')
  assert.match(line ?? '', /http:\/\/mirror\.example\/debian bookworm main$/)
})

test('the meta package names the kernel', () => {
  const text =
    'Package: linux-image-cloud-amd64\nVersion: 6.1.1-2\nDepends: linux-image-6.1.0-9-cloud-amd64 (= 6.1.1-2)\n'
  assert.deepEqual(parseMetaPackage(text), { image: 'linux-image-6.1.0-9-cloud-amd64', version: '6.1.1-2' })
  assert.equal(parseMetaPackage(''), undefined)
})

test('missing programs are named with the command that installs them', async () => {
  await using place = await testPlace()
  const bin = join(place.dir, 'bin')
  await mkdir(bin)
  await writeFile(join(bin, 'tar'), '', { mode: 0o755 })
  await requireTools(['tar'], bin)
  await assert.rejects(requireTools(['mke2fs', 'tar', 'debugfs', 'qemu-img'], bin), {
    code: 'HOST_UNFIT',
    message: /mke2fs, debugfs, qemu-img/,
    remediation: 'Run, as root: apt-get install -y --no-install-recommends e2fsprogs qemu-utils',
  })
})

test('files that are no kernel and no program are told', () => {
  for (const bytes of [0, 10, 700, 5000]) {
    assert.equal(extractKernel(Buffer.alloc(bytes, 1)), undefined)
    assert.equal(isStaticElf(Buffer.alloc(bytes, 1)), false)
  }
})

test('the command line says who is process 1 and where the root is', () => {
  assert.match(composeCmdline({ init: 'agent' }), /^console=ttyS0 .* ramet\.init=agent$/)
  assert.doesNotMatch(composeCmdline({ init: 'agent' }), /root=/)
  assert.match(
    composeCmdline({ init: 'system', rootDevice: '/dev/vda1' }),
    / root=\/dev\/vda1 rw .*ramet\.init=system$/,
  )
})

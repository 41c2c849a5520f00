// Brings a fresh machine to where Ramet runs, then hands over to the pinned Node.
//
//   node tools/setup.mjs                    set up only
//   node tools/setup.mjs tools/demo.ts ...  set up, then run that script under the pinned Node
//
// Plain JavaScript for Node 18 and newer, without dependencies: it runs before anything is installed.
// A second run finds everything in place and does nothing.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { accessSync, constants, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const pinnedNode = join(root, 'node_modules', '.bin', 'node')

// What each system package is needed for is shown by the program or file that it brings.
const systemPackages = {
  'qemu-system-x86': 'qemu-system-x86_64',
  'qemu-utils': 'qemu-img',
  mmdebstrap: 'mmdebstrap',
  uidmap: 'newuidmap',
  'musl-tools': 'musl-gcc',
  gcc: 'gcc',
  make: 'make',
  'linux-libc-dev': '/usr/include/linux/virtio_net.h',
  'libc6-dev': '/usr/include/stdio.h',
  'busybox-static': 'busybox',
  e2fsprogs: 'mke2fs',
  passt: 'passt',
  cpio: 'cpio',
  'xz-utils': 'xz',
  zstd: 'zstd',
  kmod: 'depmod',
  'util-linux': 'setpriv',
}

/** Directories of programs; administrators' programs are not on everybody's PATH. */
const programDirs = [...new Set([...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/bin', '/bin'])]

function isPresent(programOrFile) {
  const candidates = programOrFile.startsWith('/')
    ? [programOrFile]
    : programDirs.map((dir) => join(dir, programOrFile))
  return candidates.some((file) => {
    try {
      accessSync(file, constants.R_OK)
      return true
    } catch {
      return false
    }
  })
}

function say(text) {
  process.stderr.write(`set-up: ${text}\n`)
}

function fail(text) {
  say(text)
  process.exit(2)
}

/** Runs a program; its output goes to the terminal only when it fails. */
function run(program, args, environment = {}) {
  const result = spawnSync(program, args, {
    cwd: root,
    env: { ...process.env, ...environment },
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  if (result.error) fail(`${program} could not be run: ${result.error.message}`)
  if (result.status !== 0) {
    process.stderr.write(`${result.stdout}${result.stderr}`)
    fail(`${program} ${args.join(' ')} failed (exit ${result.status ?? result.signal})`)
  }
}

function ensureSystemPackages() {
  const missing = Object.keys(systemPackages).filter((name) => !isPresent(systemPackages[name]))
  if (missing.length === 0) return
  const command = `apt-get install -y --no-install-recommends ${missing.join(' ')}`
  if (!isPresent('apt-get')) {
    fail(`missing: ${missing.join(' ')} (Debian's names); install them with this system's package manager`)
  }
  const isRoot = process.getuid() === 0
  const canSudo = !isRoot && isPresent('sudo') && spawnSync('sudo', ['-n', 'true']).status === 0
  if (!isRoot && !canSudo) fail(`packages are missing; run: sudo ${command}`)
  say(`installing ${missing.length} system packages: ${missing.join(' ')}`)
  const prefix = isRoot ? [] : ['sudo', '-n', 'env', 'DEBIAN_FRONTEND=noninteractive']
  const apt = (...args) => {
    const [program, ...rest] = [...prefix, 'apt-get', ...args]
    run(program, rest, { DEBIAN_FRONTEND: 'noninteractive' })
  }
  apt('update')
  apt('install', '-y', '--no-install-recommends', ...missing)
}

function ensureNodePackages() {
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex')
  const stamp = join(root, 'node_modules', '.ramet-setup')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock && existsSync(pinnedNode)) return
  say('installing npm packages (with the pinned Node)')
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])
  if (!existsSync(pinnedNode)) fail('npm did not install the pinned Node; run `npm ci` and read what it says')
  writeFileSync(stamp, lock)
}

/** Runs `script` under the pinned Node with signals passed on, and exits as it does. */
function handOver(script, args) {
  const child = spawn(pinnedNode, [join(root, script), ...args], {
    stdio: 'inherit',
    env: { ...process.env, PATH: `${dirname(pinnedNode)}:${process.env.PATH}:/usr/sbin:/sbin` },
  })
  // A terminal sends Ctrl-C to both; this process only waits, so that the script can clean up.
  process.on('SIGINT', () => {})
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  child.on('exit', (code, signal) => {
    process.exitCode = signal === null ? code : 128 + (signal === 'SIGINT' ? 2 : 15)
  })
}

if (Number(process.versions.node.split('.')[0]) < 18) fail(`Node 18 or newer is needed; this is ${process.version}`)
if (process.platform !== 'linux' || process.arch !== 'x64') fail('Ramet runs on Linux on x86-64')
ensureSystemPackages()
ensureNodePackages()
const [script, ...args] = process.argv.slice(2)
if (script !== undefined) handOver(script, args)

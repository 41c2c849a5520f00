import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { quantile } from '../summary.ts'
import { clusterBytes } from './guest-load.ts'
import type { LiveTools } from './tools.ts'

/**
 * 4 KiB random reads through each chain, by QEMU's own block layer on the host (`qemu-io`), microseconds. From within
 * a guest the same reads take several times longer, nearly all of it emulation, which would hide what a chain costs.
 */
export interface ChainReads {
  firstUs: number
  lastUs: number
  naiveUs: number
  /** last over first and naive over first, each the median over the rounds: within one the machine is most alike */
  lastRatio: number
  naiveRatio: number
  /** files in the naive chain, its base included */
  naiveDepth: number
  /** whether the naive chain and the last generation hold the same, byte for byte */
  isSameData: boolean
  roundCount: number
  /** in each round, of each chain */
  readCount: number
}

export interface ChainsToCompare {
  firstPath: string
  lastPath: string
  /** what each generation wrote, in order */
  writes: { clusters: number[]; byte: number }[]
  sizeBytes: number
}

const roundCount = 15
const readsPerRound = 1200
/** of each round, not counted: tables are read then */
const warmUpCount = 200
const readBytes = 4096
const run = promisify(execFile)

/** Reads from the three in turn, so that whatever else the machine does meets all alike. The vms must not run. */
export async function compareChains(tools: LiveTools, chains: ChainsToCompare): Promise<ChainReads> {
  const dir = await mkdtemp(join(tools.daemon.scratchDir, 'naive-'))
  try {
    const naivePath = await makeNaiveChain(tools, dir, chains)
    const isSameData = await run('qemu-img', ['compare', '-q', '-U', naivePath, chains.lastPath]).then(
      () => true,
      () => false,
    )
    const medians = await readInTurn([chains.firstPath, chains.lastPath, naivePath], chains.sizeBytes, tools.signal)
    const over = (of: (round: number[]) => number | undefined) =>
      quantile(
        medians.map((round) => of(round) ?? Number.NaN),
        0.5,
      )
    const ratio = (chain: number) => over((round) => (round[chain] ?? Number.NaN) / (round[0] ?? Number.NaN))
    return {
      firstUs: over((round) => round[0]),
      lastUs: over((round) => round[1]),
      naiveUs: over((round) => round[2]),
      lastRatio: ratio(1),
      naiveRatio: ratio(2),
      naiveDepth: chains.writes.length + 1,
      isSameData,
      roundCount,
      readCount: readsPerRound - warmUpCount,
    }
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** What one would do without Ramet: an overlay over the overlay of the generation before. @returns the top */
async function makeNaiveChain(tools: LiveTools, dir: string, { lastPath, writes }: ChainsToCompare): Promise<string> {
  const { stdout } = await run('qemu-img', ['info', '-U', '--output=json', lastPath])
  let below: string | undefined = JSON.parse(stdout)['full-backing-filename']
  if (below === undefined) throw new Error('the last generation has no base under its disk')
  tools.say(`generations: making a naive chain of ${writes.length} overlays`)
  for (const [index, { clusters, byte }] of writes.entries()) {
    tools.signal.throwIfAborted()
    const path = join(dir, `overlay${index}.qcow2`)
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', below, '-F', 'qcow2', path])
    const commands = clusters.map((cluster) => `write -q -P ${byte} ${cluster * clusterBytes} ${clusterBytes}`)
    await qemuIo(['-f', 'qcow2', path], [...commands, 'flush'], tools.signal)
    below = path
  }
  return below
}

/** @returns for each round the median of each chain, microseconds */
async function readInTurn(paths: readonly string[], sizeBytes: number, signal: AbortSignal): Promise<number[][]> {
  const rounds: number[][] = []
  // All of it once, so that none waits for the host's disk: what another chain covers, only this one has read.
  for (const path of paths) await qemuIo(readOnly(path), [`read -q 0 ${sizeBytes}`], signal)
  for (let round = 0; round < roundCount; round += 1) {
    const offsets = randomOffsets(round + 1, sizeBytes)
    const medians: number[] = []
    for (const path of paths) medians.push(quantile(await readAt(path, offsets, signal), 0.5))
    rounds.push(medians)
  }
  return rounds
}

const readOnly = (path: string): string[] => ['-r', '-U', '-f', 'qcow2', path]

/** @returns microseconds of each read but the first ones */
async function readAt(path: string, offsets: readonly number[], signal: AbortSignal): Promise<number[]> {
  const commands = offsets.map((offset) => `read -C ${offset} ${readBytes}`)
  return readLatenciesUs(await qemuIo(readOnly(path), commands, signal)).slice(warmUpCount)
}

/** Its lines are `bytes,operations,time,bytes per second,operations per second`; only the last is fine enough. */
export function readLatenciesUs(text: string): number[] {
  return [...text.matchAll(/\d+,1,[\d:.]+,[\d.]+,([\d.]+)$/gm)].map((match) => 1e6 / Number(match[1]))
}

/** Offsets of whole blocks, the same for the same seed. */
export function randomOffsets(seed: number, sizeBytes: number, count = readsPerRound): number[] {
  let state = seed
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * (sizeBytes / readBytes)) * readBytes
  })
}

async function qemuIo(args: string[], commands: readonly string[], signal: AbortSignal): Promise<string> {
  const child = spawn('qemu-io', args, { stdio: ['pipe', 'pipe', 'pipe'], signal, killSignal: 'SIGKILL' })
  const output: string[] = []
  child.stdout.setEncoding('utf8').on('data', (text: string) => output.push(text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => output.push(text))
  child.stdin.on('error', () => {})
  child.stdin.end(`${commands.join('\n')}\n`)
  const [code] = await once(child, 'close')
  const text = output.join('')
  if (code !== 0 || /error|failed/i.test(text)) throw new Error(`qemu-io: ${text.slice(0, 300)}`)
  return text
}

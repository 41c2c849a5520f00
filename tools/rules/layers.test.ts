import assert from 'node:assert/strict'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { importsOf, readSources, type SourceFile } from './source.ts'

/**
 * The rooms from the ground up. A room may import rooms of lower floors only: somebody who follows a fork
 * from the server down to QEMU never turns back. Rooms of one floor do not know each other, so that each can be
 * read, tested and replaced alone.
 */
const floors: string[][] = [
  ['shared'],
  ['host'],
  ['qemu'],
  ['opportunistic'],
  ['agent', 'disk', 'memory', 'cluster'],
  ['fork', 'checkpoint', 'image'],
  ['group', 'fabric'],
  ['engine'],
  ['server', 'e2b'],
]

/** Rooms beside the house: what they may import, and who may import them is said by the others' entries. */
const beside: Record<string, string[]> = {
  // wire types: known to whoever speaks our REST, ignorant of everybody
  api: ['shared'],
  // the public SDK talks to a server over the wire only, or it would work on this machine alone
  client: ['api', 'shared'],
  // the command line can do nothing that an SDK user cannot
  cli: ['client', 'api', 'shared'],
}

const mayImportApi = ['engine', 'server', 'e2b', 'client', 'cli']

function roomOf(path: string): string | undefined {
  if (path.startsWith('guest/image/')) return 'image'
  return /^src\/([^/]+)\//.exec(path)?.[1]
}

function mayImport(from: string, to: string): boolean {
  if (from === to) return true
  const own = beside[from]
  if (own !== undefined) return own.includes(to)
  if (to === 'api') return mayImportApi.includes(from)
  const floorOf = (room: string) => floors.findIndex((floor) => floor.includes(room))
  return floorOf(to) >= 0 && floorOf(to) < floorOf(from)
}

const isTest = (file: SourceFile) => /\.(test|campaign)\.ts$|\/testing\//.test(file.path)
const files = readSources('src/**/*.ts', 'guest/image/**/*.ts')

function localImports(file: SourceFile): string[] {
  return importsOf(file)
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => join(dirname(file.path), specifier))
}

test('every source file lives in a room of the house', () => {
  const known = [...floors.flat(), ...Object.keys(beside)]
  const homeless = files.filter((file) => !known.includes(roomOf(file.path) ?? '')).map((file) => file.path)
  assert.deepEqual(homeless, [], 'put these into a room, or add the room to tools/rules/layers.test.ts with its floor')
})

test('imports point downwards only', () => {
  const wrong: string[] = []
  for (const file of files.filter((candidate) => !isTest(candidate))) {
    const from = roomOf(file.path) ?? ''
    for (const target of localImports(file)) {
      const to = roomOf(target)
      if (to === undefined || !mayImport(from, to)) wrong.push(`${file.path} imports ${target}`)
    }
  }
  assert.deepEqual(wrong, [], 'pass what you need as an argument, or move it to the lower room that both can see')
})

test('no import cycles', () => {
  const graph = new Map(files.map((file) => [file.path, localImports(file)]))
  const state = new Map<string, 'open' | 'done'>()
  const cycles: string[] = []
  const visit = (path: string, trail: string[]): void => {
    if (state.get(path) === 'done') return
    if (state.get(path) === 'open') {
      cycles.push([...trail.slice(trail.indexOf(path)), path].join(' -> '))
      return
    }
    state.set(path, 'open')
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path])
    state.set(path, 'done')
  }
  for (const path of graph.keys()) visit(path, [])
  assert.deepEqual(cycles, [], 'two files that need each other are one idea, or hide a third')
})

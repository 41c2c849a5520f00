import assert from 'node:assert/strict'
import process from 'node:process'
import { after, before, describe, it } from 'node:test'
import type { Template, Vm } from '../src/client/index.ts'
import { Host } from './support/host.ts'

const childCount = process.env.RAMET_CAMPAIGN === '1' ? 50 : 5

/** Keeps its state in the memory of a Python process, and answers over TCP. */
const server = `
import json, os, socketserver
hits = []
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        hits.append(self.rfile.readline().decode().strip())
        self.wfile.write(json.dumps({"pid": os.getpid(), "hits": hits}).encode() + b"\\n")
socketserver.TCPServer.allow_reuse_address = True
socketserver.TCPServer(("127.0.0.1", 8000), Handler).serve_forever()
`
const client = `
import socket, sys
with socket.create_connection(("127.0.0.1", 8000)) as s:
    s.sendall(sys.argv[1].encode() + b"\\n")
    print(s.makefile().readline(), end="")
`

describe('children of a debian vm', () => {
  let host: Host
  let template: Template
  let children: Vm[]
  let pid = 0

  async function ask(vm: Vm, word: string): Promise<{ pid: number; hits: string[] }> {
    return JSON.parse((await vm.commands.run(['python3', '/root/client.py', word])).stdout)
  }

  before(async () => {
    host = await Host.start({ images: ['debian'] })
    template = await host.template(
      'python',
      async (vm) => {
        await vm.files.write([
          { path: '/root/server.py', data: server },
          { path: '/root/client.py', data: client },
        ])
        await vm.commands.run(['python3', '/root/server.py'], { background: true, execId: 'server' })
        await vm.commands.run('until python3 /root/client.py parent; do sleep 0.1; done')
        pid = (await ask(vm, 'again')).pid
        await vm.files.write('/root/on-disk', 'of the parent')
        await vm.commands.run('sync')
      },
      { image: 'debian' },
    )
    children = await template.forkAll({ count: childCount, namePrefix: 'py' })
  })
  after(() => host.close())

  it(`all ${childCount} answer from the one state, each for itself`, async () => {
    const answers = await Promise.all(children.map((child) => ask(child, child.name)))
    for (const [index, answer] of answers.entries()) {
      assert.deepEqual(answer, { pid, hits: ['parent', 'again', `py-${index}`] })
    }
  })

  it('have disks of their own over one base', async () => {
    const [first, second] = children
    assert.ok(first && second)
    assert.equal(await first.files.read('/root/on-disk'), 'of the parent')
    await first.commands.run(
      'echo changed > /root/on-disk; dd if=/dev/urandom of=/root/big bs=1M count=20 2>/dev/null; sync',
    )
    assert.equal(await second.files.read('/root/on-disk'), 'of the parent')
    assert.equal(await second.files.exists('/root/big'), false)
    const stats = await first.stats()
    assert.ok(stats.disk.chainDepth <= 3, `depth ${stats.disk.chainDepth}`)
    assert.ok(stats.disk.privateBytes > 20 * 1024 ** 2)
  })

  it('can be made templates in turn, at no greater depth', async () => {
    const [child] = children
    assert.ok(child)
    const made = await host.ramet.templates.create({ from: 'vm', vm: child.id, name: 'grandparent' })
    children = children.slice(1)
    const [grandchild] = await made.template.forkAll({ names: ['grandchild'] })
    assert.ok(grandchild)
    assert.deepEqual((await ask(grandchild, 'grandchild')).hits, ['parent', 'again', 'py-0', 'grandchild'])
    assert.equal((await grandchild.files.read('/root/on-disk')).trim(), 'changed')
    assert.equal(grandchild.info.depth, 2)
    assert.ok((await grandchild.stats()).disk.chainDepth <= 3)
    await grandchild.remove()
    await made.template.remove()
  })
})

import { Ramet } from 'ramet'

const ramet = new Ramet()

// Boot once, and bring it into the state you want.
const vm = await ramet.vms.create({ image: 'micro', name: 'parent' })
await vm.files.write('/tmp/state', 'warm')

// Seal it. From now on children start from this very state, in milliseconds.
const { template } = await ramet.templates.create({ from: 'vm', vm: vm.id, name: 'warm' })

const children = await template.forkAll({ count: 3, namePrefix: 'child' })
for (const child of children) {
  await using _removedAtTheEnd = child
  const state = await child.files.read('/tmp/state')
  const { stdout } = await child.commands.run('cat', { stdin: `${child.name} is ${state}` })
  console.log(stdout)
}
await template.remove()

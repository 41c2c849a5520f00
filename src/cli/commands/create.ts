import { defineCommand, parsed, required, value } from '../command.ts'
import { machineOptions, machineRequest } from '../options/machine.ts'
import { idleHelp, runOptions, runRequest } from '../options/run.ts'
import { showOne } from '../output.ts'
import { parseRestart } from '../parse/restart.ts'

export default defineCommand({
  description:
    'Creates a vm from an image without starting it: its name and its disks are reserved, no process runs. What it has (processors, memory, disks, networks) is chosen here and stays so in all its forks. ramet run does this and starts it.\n\n' +
    idleHelp,
  examples: [
    { line: 'ramet create debian --name web --cpus 2 -m 1G', does: 'Prepares web.' },
    { line: 'ramet start web', does: 'Boots it.' },
  ],
  arguments: { image: required('image to boot from', 'image') },
  options: {
    name: value('-n, --name <name>', 'name; invented when left out'),
    ...machineOptions,
    ...runOptions,
    restart: parsed('--restart <policy>', 'start it again by itself: no, always or on-failure[:N]', parseRestart),
  },
  run: async ({ args, options }, context) => {
    const ramet = await context.ramet()
    const vm = await ramet.vms.create({
      image: args.image,
      ...(options.name === undefined ? {} : { name: options.name }),
      ...machineRequest(options),
      ...runRequest(options),
      ...(options.restart === undefined ? {} : { restart: options.restart }),
      start: false,
      ...context.action(`creating ${options.name ?? `a vm from ${args.image}`}`),
    })
    context.progress.clear()
    await showOne(context, vm.info, vm.name)
    return undefined
  },
})

import { defineCommand, flag, optional, required } from '../command.ts'
import { line } from '../io.ts'
import { showList } from '../output.ts'
import { parsePort } from '../parse/port.ts'
import { resolveVm } from '../resolve.ts'
import { UsageError } from '../show-error.ts'

export default defineCommand({
  description:
    'Makes a TCP port of a vm reachable on this machine, through the tunnel of its agent: that works without any network in the guest. Only this machine can reach it (127.0.0.1) unless another address is named. Without a port it lists what is published.',
  examples: [
    { line: 'ramet port web 8080', does: 'Publishes port 8080 of web on a free port here.' },
    { line: 'ramet port web 8080:18080', does: 'On port 18080 here.' },
    { line: 'ramet port web 8080 --rm', does: 'Takes it back.' },
  ],
  arguments: {
    vm: required('vm, by name or id', 'vm'),
    port: optional('GUEST, GUEST:HOST or GUEST:ADDRESS:HOST'),
  },
  options: { rm: flag('--rm', 'take it back') },
  run: async ({ args, options }, context) => {
    const wanted = args.port === undefined ? undefined : parsePort(args.port)
    if (options.rm && wanted === undefined) throw new UsageError('which port?', 'Write: ramet port VM GUEST --rm')
    const ramet = await context.ramet()
    const vm = await resolveVm(ramet, args.vm, context.signal)
    const { signal } = context
    if (wanted === undefined) {
      const ports = (await vm.ports({ signal })).map((port) => ({ ...port, name: String(port.guestPort) }))
      const rows = context.format === 'json' ? ports.map(({ name: _name, ...port }) => port) : ports
      const columns = [
        { heading: 'GUEST', of: (port: { guestPort: number }) => String(port.guestPort) },
        { heading: 'HERE', of: (port: { hostAddress: string; hostPort: number }) => hostText(port) },
      ]
      await showList(context, rows as typeof ports, columns, `${vm.name} has no published ports`)
    } else if (options.rm) {
      await vm.unpublish(wanted.guestPort, { signal })
    } else {
      const port = await vm.publish({ ...wanted, signal })
      await line(context.io, context.format === 'json' ? JSON.stringify(port, null, 2) : hostText(port))
    }
    return undefined
  },
})

const hostText = (port: { hostAddress: string; hostPort: number }) =>
  port.hostAddress.includes(':') ? `[${port.hostAddress}]:${port.hostPort}` : `${port.hostAddress}:${port.hostPort}`

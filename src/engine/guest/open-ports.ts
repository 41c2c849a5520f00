import type { PortForwarder } from '../../agent/port-forwarder.ts'

/** The published ports that are open on this host, by vm. They stay while a vm is suspended, without anything that runs for it. */
export class OpenPorts {
  readonly #forwarders = new Map<string, Map<number, PortForwarder>>()

  get(vmId: string, guestPort: number): PortForwarder | undefined {
    return this.#forwarders.get(vmId)?.get(guestPort)
  }

  add(vmId: string, forwarder: PortForwarder): void {
    const ofVm = this.#forwarders.get(vmId) ?? new Map<number, PortForwarder>()
    this.#forwarders.set(vmId, ofVm.set(forwarder.guestPort, forwarder))
  }

  /** Stops listening, and cuts the connections there are. */
  async close(vmId: string, guestPort: number): Promise<void> {
    const forwarder = this.get(vmId, guestPort)
    this.#forwarders.get(vmId)?.delete(guestPort)
    await forwarder?.close()
  }

  async closeAllOf(vmId: string): Promise<void> {
    const ofVm = [...(this.#forwarders.get(vmId)?.values() ?? [])]
    this.#forwarders.delete(vmId)
    await Promise.all(ofVm.map((forwarder) => forwarder.close()))
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#forwarders.keys()].map((vmId) => this.closeAllOf(vmId)))
  }
}

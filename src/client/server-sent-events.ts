/** One server-sent event, as the standard has it. */
export interface ServerSentEvent {
  id?: string
  /** `message` when the stream does not say */
  type: string
  data: string
}

const longestLineChars = 16 * 1024 * 1024

/** Parses `text/event-stream`. Comments (heartbeats) are swallowed; an event cut off by the end is dropped. */
export async function* serverSentEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const decoder = new TextDecoder()
  let rest = ''
  let event: { id?: string; type: string; data: string[] } = { type: 'message', data: [] }
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true })
    const lines = rest.split(/\r\n|\n|\r(?=.)/)
    rest = lines.pop() ?? ''
    if (rest.length > longestLineChars) return
    for (const line of lines) {
      if (line === '') {
        if (event.data.length > 0) yield { ...event, data: event.data.join('\n') }
        event = { type: 'message', data: [] }
        continue
      }
      const [, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? []
      if (field === 'data') event.data.push(value)
      else if (field === 'event') event.type = value
      else if (field === 'id') event.id = value
    }
  }
}

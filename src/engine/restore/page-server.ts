import type { PageServerClient } from '../../checkpoint/serve/client.ts'
import type { EnsureOptions } from '../../checkpoint/serve/ensure.ts'

/** A page server, as far as the engine has to do with it. */
export type PageServer = Pick<
  PageServerClient,
  | 'closed'
  | 'pid'
  | 'prepare'
  | 'serve'
  | 'hurry'
  | 'mark'
  | 'list'
  | 'drop'
  | 'cache'
  | 'giveBack'
  | 'onNotice'
  | 'close'
>

/** Finds the page server of a data directory, or starts it. */
export type ConnectPageServer = (options: EnsureOptions) => Promise<PageServer>

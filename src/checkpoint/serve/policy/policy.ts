/** What a policy is: given a fault, which pages to bring along. Pure: it sends nothing and reads nothing. */
import type { PageMap as LocalityMap } from '../../../memory/page-tables/page-map.ts'
import type { PageMap } from '../../file/page-map.ts'

export interface PrefetchPolicy {
  /**
   * @param page of guest RAM that a guest stands still for
   * @returns pages to bring along, those first that are likeliest to be asked for next; none that was sent, none twice; the
   *   page itself may be among them
   */
  onFault(page: number): number[]
}

/** What a policy may look at. */
export interface PolicyView {
  /** where the pages are in the file, whose order is the guest-virtual one where that is known */
  readonly pages: PageMap
  /** which pages are beside each other in the guest's address spaces; undefined where the checkpoint does not tell */
  readonly locality: LocalityMap | undefined
  isSent(page: number): boolean
}

/** What is asked for, and nothing else. */
export const noPolicy: PrefetchPolicy = { onFault: () => [] }

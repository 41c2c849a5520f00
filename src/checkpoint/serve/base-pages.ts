/** Pages that a checkpoint counts as its base's. */
export interface BasePages extends AsyncDisposable {
  /**
   * Reads one page of the stored base, after checking what it comes with.
   *
   * @param into a page long
   * @returns bytes that were read of the base for it: none where it was on hand
   * @throws RametError `BASE_DAMAGED` before anything of it is given
   */
  read(page: number, into: Buffer): Promise<number>
}

/** Paths at which a root file system keeps its init; the first is the kernel's own first choice. */
export const initPaths = ['sbin/init', 'usr/sbin/init', 'lib/systemd/systemd', 'usr/lib/systemd/systemd']

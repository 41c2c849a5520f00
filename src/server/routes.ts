import type { Route } from './route.ts'
import { consoleRoutes } from './routes/console.ts'
import { eventRoutes } from './routes/events.ts'
import { execRoutes } from './routes/exec.ts'
import { fileRoutes } from './routes/files.ts'
import { hostRoutes } from './routes/host.ts'
import { imageRoutes } from './routes/images.ts'
import { operationRoutes } from './routes/operations.ts'
import { portRoutes } from './routes/ports.ts'
import { snapshotRoutes } from './routes/snapshots.ts'
import { templateRoutes } from './routes/templates.ts'
import { vmActionRoutes } from './routes/vm-actions.ts'
import { vmRoutes } from './routes/vms.ts'

/** Every route there is, made anew for each server. */
export function allRoutes(): Route[] {
  return [
    ...vmRoutes,
    ...vmActionRoutes,
    ...consoleRoutes,
    ...execRoutes,
    ...fileRoutes,
    ...portRoutes,
    ...templateRoutes,
    ...snapshotRoutes,
    ...imageRoutes,
    ...operationRoutes,
    ...eventRoutes(),
    ...hostRoutes,
  ]
}

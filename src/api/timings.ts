import { z } from 'zod'
import { Milliseconds } from './primitives.ts'

const stage = (what: string) => Milliseconds.optional().describe(`${what}, milliseconds.`)

/** How long each stage of making a vm took. Stages that did not happen are absent; some overlap. */
export const Timings = z
  .object({
    queueMs: stage('Waiting for a turn'),
    freezeMs: stage('Workload of the source not executing'),
    pauseMs: stage('Source guest not executing'),
    pauseMemoryMs: stage('Of the pause: devices and memory, and all else but the disks'),
    pauseDiskMs: stage('Of the pause: freezing the disks, from when the guest stood'),
    streamMs: stage('Of a background capture: until the whole memory was read'),
    foldMs: stage('Folding base and delta of a running source into a new base'),
    captureMs: stage('Saving device state and memory of the source'),
    diskMs: stage('Making the delta disks'),
    scanMs: stage('Of a snapshot: looking through its memory for the address spaces of its processes'),
    storeMs: stage('Of a snapshot: compressing and writing its memory'),
    spawnMs: stage('Starting QEMU until it answers on QMP; zero when an armed process was taken'),
    loadMs: stage('Loading the device state'),
    resumeMs: stage('From `cont` to the RESUME event of QEMU'),
    runningMs: stage('From the request to the RESUME event of QEMU'),
    linkMs: stage('From running to the first answer of the guest agent'),
    identityMs: stage('Applying and proving the identity'),
    bootMs: stage('From the start of the guest to the first answer of its agent, cold boot only'),
    readyMs: stage('From the request until the workload executes with its own identity'),
    firstExecMs: stage('First command in the guest, from request to exit'),
    totalMs: stage('From the request to its answer'),
  })
  .meta({ id: 'Timings', description: 'Durations of the stages of making a vm, milliseconds.' })
export type Timings = z.infer<typeof Timings>

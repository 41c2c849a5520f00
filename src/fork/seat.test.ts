import assert from 'node:assert/strict'
import { test } from 'node:test'
import { addressOf, firstSeat, freeSeat, gatewayOf, lastSeat, machineIdOf, macOf } from './seat.ts'

test('the smallest free seat is taken, and none when all are', () => {
  assert.equal(freeSeat(new Set()), firstSeat)
  assert.equal(freeSeat(new Set([2, 3, 5])), 4)
  const all = new Set(Array.from({ length: lastSeat + 1 }, (_, seat) => seat))
  assert.equal(freeSeat(all), undefined)
})

test('seats give different addresses, never those of the network, gateway or broadcast', () => {
  const addresses = new Set<string>()
  for (let seat = firstSeat; seat <= lastSeat; seat += 1) addresses.add(addressOf(seat, 0))
  assert.equal(addresses.size, lastSeat - firstSeat + 1)
  for (const special of ['10.77.0.0/16', `${gatewayOf(0)}/16`, '10.77.255.255/16']) assert.ok(!addresses.has(special))
})

test('a MAC is local, unicast, and differs by vm and by NIC', () => {
  const macs = [macOf('vm-a', 0), macOf('vm-a', 1), macOf('vm-b', 0)]
  assert.equal(new Set(macs).size, 3)
  for (const mac of macs) {
    assert.match(mac, /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/)
    assert.equal(Number.parseInt(mac.slice(0, 2), 16) & 3, 2)
  }
})

test('a machine id has 32 hexadecimal digits', () => {
  assert.match(machineIdOf('vm-a'), /^[0-9a-f]{32}$/)
  assert.notEqual(machineIdOf('vm-a'), machineIdOf('vm-b'))
})

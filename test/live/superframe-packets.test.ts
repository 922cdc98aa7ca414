/** Packets of all kinds through a tunnel: what the kernel at the far side gets is what was sent, byte for byte. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import { sum } from '../../src/packet/index.ts';
import type { Host } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { InterfaceTap } from './interface-port.ts';
import { frameKinds, inSendingOrder, ipKinds, type Kind } from './packet-kinds.ts';
import { Joined } from './tunnel-end.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Without IPv4's identification, and the header's checksum that covers it. */
function unnumbered(bytes: Uint8Array, layer: 2 | 3): string {
  const at = layer === 2 ? 14 : 0;
  const copy = bytes.slice();
  copy.fill(0, at + 4, at + 6);
  // The sum of a right header is 0xffff; where it is not, the checksum stays and tells.
  if (sum(bytes, at, (bytes[at]! & 15) * 4) === 0xffff) copy.fill(0, at + 10, at + 12);
  return hex(copy);
}

/** What did not arrive, came in another order than its flow had, or more often than it was sent; by kind. */
function differences(kinds: readonly Kind[], arrived: readonly Uint8Array[], layer: 2 | 3) {
  const came = new Map<string, number[]>();
  for (const [i, bytes] of arrived.entries()) {
    for (const key of [hex(bytes), `unnumbered ${unnumbered(bytes, layer)}`]) {
      came.set(key, [...(came.get(key) ?? []), i]);
    }
  }
  const missing: Record<string, number> = {};
  const disordered: Record<string, number> = {};
  const repeated: Record<string, number> = {};
  const note = (what: Record<string, number>, kind: string) => (what[kind] = (what[kind] ?? 0) + 1);
  for (const { kind, flows, ordered, renumbered } of kinds) {
    const keyOf = (packet: Uint8Array) =>
      renumbered ? `unnumbered ${unnumbered(packet, layer)}` : hex(packet);
    for (const flow of flows) {
      let last = -1;
      for (const packet of flow) {
        const at = came.get(keyOf(packet))?.shift();
        if (at === undefined) note(missing, kind);
        else if (at < last && ordered !== false) note(disordered, kind);
        else last = at;
      }
    }
    for (const key of new Set(flows.flat().map(keyOf))) if (came.get(key)?.length) note(repeated, kind);
  }
  return { missing, disordered, repeated };
}

const mac = (host: Host) =>
  [...native().interfaceGet('tun0', host.path).mac]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join(':');

describe.skipIf(needs('root', 'tun', 'ping'))('packets of all kinds', () => {
  describe.each(['tun', 'tap'] as const)('through a %s', (mode) => {
    it.each([
      ['merged on arrival', {}, true],
      ['merged on arrival, out of datagrams one by one', { gro: false }, true],
      ['merged where they enter the interface', { coalesce: 'none' }, true],
      ['without superframes', { offload: false }, false],
    ] as const)('arrive as they were sent, both ways: %s', async (_, device, merges) => {
      const layer = mode === 'tap' ? 'L2' : 'L3';
      await using joined = await Joined.open({ layer, device });
      const { a, b, client, server, mtu, addresses } = joined;
      // What the kernel sent on its own while the tunnel was not there yet.
      const before = [client, server].map((end) => end.drops());
      for (const host of [a, b]) await host.ip('link set tun0 txqueuelen 8000');
      await using atClient = await InterfaceTap.open(a, 'tun0', layer);
      await using atServer = await InterfaceTap.open(b, 'tun0', layer);
      const [clientMac, serverMac] = mode === 'tap' ? [mac(a), mac(b)] : ['', ''];

      for (const family of [4, 6] as const) {
        const { server: theirs, client: ours } = addresses[family];
        for (const [from, to, near, far, macs] of [
          [ours, theirs, atClient, atServer, [clientMac, serverMac]],
          [theirs, ours, atServer, atClient, [serverMac, clientMac]],
        ] as const) {
          const between = { family, from, to, mtu };
          const kinds = mode === 'tap' ? frameKinds(between, macs[0], macs[1]) : ipKinds(between);
          const sent = inSendingOrder(kinds);
          const already = far.received.length;
          near.send(sent);
          for (const end = performance.now() + 5000; performance.now() < end; await sleep(20)) {
            if (far.received.length - already >= sent.length) break;
          }
          await sleep(50);
          const found = differences(kinds, far.received.slice(already), mode === 'tap' ? 2 : 3);
          expect(found).toEqual({ missing: {}, disordered: {}, repeated: {} });
        }
      }
      expect([client, server].map((end) => end.drops())).toEqual(before);
      for (const tap of [atClient, atServer]) expect(tap.superframes > 50).toBe(merges);
    });
  });
});

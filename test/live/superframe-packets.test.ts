/** Packets of all kinds through a tunnel: what the kernel at the far side gets is what was sent, byte for byte. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import { describePacket } from '../../src/packet/index.ts';
import type { Host } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { InterfaceTap } from './interface-port.ts';
import { frameKinds, inSendingOrder, ipKinds, type Kind } from './packet-kinds.ts';
import { Joined } from './tunnel-end.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** What of `sent` is not among `arrived`, and what came in another order than its flow had; by kind. */
function differences(kinds: readonly Kind[], arrived: readonly Uint8Array[]) {
  const came = new Map<string, number[]>();
  for (const [i, bytes] of arrived.entries()) {
    const key = hex(bytes);
    came.set(key, [...(came.get(key) ?? []), i]);
  }
  const missing: Record<string, number> = {};
  const disordered: Record<string, number> = {};
  for (const { kind, flows, ordered } of kinds) {
    for (const flow of flows) {
      let last = -1;
      for (const packet of flow) {
        const at = came.get(hex(packet))?.shift();
        if (at === undefined) missing[kind] = (missing[kind] ?? 0) + 1;
        else if (at < last && ordered !== false) disordered[kind] = (disordered[kind] ?? 0) + 1;
        else last = at;
      }
    }
  }
  const extra = [...came.values()].flat().map((i) => arrived[i]!);
  return { missing, disordered, extra };
}

const mac = (host: Host) =>
  [...native().interfaceGet('tun0', host.path).mac]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join(':');

describe.skipIf(needs('root', 'tun', 'ping'))('packets of all kinds', () => {
  describe.each(['tun', 'tap'] as const)('through a %s', (mode) => {
    it.each([
      ['merged on arrival', {}],
      ['not merged on arrival', { gro: false }],
      ['without superframes', { offload: false }],
    ])('arrive as they were sent, both ways: %s', async (_, device) => {
      const layer = mode === 'tap' ? 'L2' : 'L3';
      await using joined = await Joined.open({ layer, device });
      const { a, b, client, server, mtu, addresses } = joined;
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
          const before = far.received.length;
          near.send(sent);
          for (const end = Date.now() + 5000; Date.now() < end; await sleep(20)) {
            if (far.received.length - before >= sent.length) break;
          }
          await sleep(50);
          const { missing, disordered, extra } = differences(kinds, far.received.slice(before));
          expect({ missing, disordered }).toEqual({ missing: {}, disordered: {} });
          // The kernels have things to say to one another too, and about what they got.
          const changed = extra.filter((bytes) => bytes.length > 700);
          expect(
            changed.map((bytes) => describePacket(bytes, 0, bytes.length, mode === 'tap' ? 2 : 3)),
          ).toEqual([]);
        }
      }
      for (const end of [client, server]) expect(end.drops()).toEqual({});
    });
  });
});

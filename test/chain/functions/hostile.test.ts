import { describe, expect, it } from 'vitest';
import { READY_MADE } from '../../../src/chain/functions/index.ts';
import { RETURN } from '../../../src/chain/wire/prefix.ts';
import { randomStream } from '../../../src/engine/random.ts';
import { icmpEcho, tcpPacket, udpPacket } from '../../../src/packet/build.ts';
import { Flag } from '../../../src/packet/tcp.ts';
import { inChain, type Sent, vnfWorld } from '../vnf/world.ts';

/** Of each function: more than a million in all. A million of each takes minutes. */
const PACKETS = 120_000;
const BURST = 500;

const options: Record<string, object> = {
  rewrite: { source: '192.0.2.1:9', destination: '192.0.2.2', ttl: 9, dscp: 3 },
  'rate-limit': { rate: '1gbit', perFlow: '100mbit' },
  match: { pattern: ['a', 'hex:0001', 'hello'], action: 'mark', dscp: 4 },
  mirror: { file: '/dev/null', count: 100_000 },
  balance: { match: '*', backend: ['192.0.2.1:80', '192.0.2.2', '[2001:db8::1]:80'] },
  firewall: { rule: ['allow *:tcp', 'deny *:udp:53'], default: 'allow' },
  nat: { addresses: ['192.0.2.1', '2001:db8::1'] },
  impair: { stages: 'delay 1ms 1ms loss 1% duplicate 1% corrupt 1%', seed: 3 },
};

const originals = [
  tcpPacket({ to: '10.0.0.2:80', flags: Flag.Syn, tcpOptions: { mss: 1460, sackPermitted: true } }),
  tcpPacket({ to: '[fd00::2]:80', flags: Flag.Ack, payload: 'hello' }),
  udpPacket({ to: '10.0.0.2:53', payload: 'hello' }),
  udpPacket({ to: '[fd00::2]:53', payload: 40, extensions: [{ protocol: 0, bytes: new Uint8Array(8) }] }),
  icmpEcho({ to: '10.0.0.2' }),
  icmpEcho({ to: 'fd00::2', payload: 20 }),
];

describe('packets with wrong bytes', () => {
  it.each([...READY_MADE])('do %s no harm', { timeout: 300_000 }, async (name, make) => {
    const random = randomStream(11, name);
    await using world = await vnfWorld(make((options[name] ?? {}) as never));
    let came = 0;
    world.port.keep = false;
    world.port.onPacket = () => void came++;
    const prefixes = [0, RETURN].flatMap((way) =>
      originals.map((bytes, flow) => inChain(bytes, flow, { servicePath: 7 + way }).prefix!),
    );
    const burst = Array.from({ length: BURST }, (): Sent => ({ bytes: originals[0] }));
    for (let sent = 0; sent < PACKETS; sent += BURST) {
      for (const each of burst) {
        const n = random.below(originals.length);
        each.bytes = originals[n].slice(
          0,
          random.below(8) === 0 ? random.below(originals[n].length + 1) : undefined,
        );
        each.prefix = prefixes[n + originals.length * random.below(2)].slice();
        for (let edits = random.below(4); edits > 0; edits--)
          if (each.bytes.length > 0) each.bytes[random.below(each.bytes.length)] = random.u32();
        // And some whose prefix is wrong.
        if (random.below(20) === 0) each.prefix[random.below(each.prefix.length)] = random.u32();
      }
      world.port.send(...burst);
      world.runtime.advance('1ms');
    }
    world.runtime.advance('1s');
    const drops = Object.values(world.drops()).reduce((a, b) => a + b, 0);
    expect(world.drops()).not.toHaveProperty('vnf-error');
    expect(world.events.filter(({ type }) => type === 'vnf-error')).toEqual([]);
    // Duplicates are more than came.
    if (name === 'impair') expect(came + drops).toBeGreaterThan(PACKETS);
    else expect(came + drops).toBe(PACKETS);
    expect(came).toBeGreaterThan(PACKETS / 10);
  });
});

/** ARP probes and conflicts of addresses (RFC 5227). */
import { describe, expect, it } from 'vitest';
import { Network, VirtualRuntime } from '../../src/engine/index.ts';
import { arp, EtherType, ethernet, formatIp, formatMac } from '../../src/packet/index.ts';
import { Neighbours, Stack } from '../../src/stack/index.ts';
import { MemoryPort } from '../../src/tun/memory.ts';

const MINE = '02:00:00:00:00:02';
const THEIRS = '02:00:00:00:00:01';
const EVERYBODY = 'ff:ff:ff:ff:ff:ff';
const NOBODY = '00:00:00:00:00:00';
const WANTED = '10.0.0.9';

interface Said {
  operation: number;
  senderMac?: string;
  senderIp: string;
  targetIp: string;
  to?: string;
}

function arpFrame({ operation, senderMac = THEIRS, senderIp, targetIp, to = EVERYBODY }: Said): Uint8Array {
  const frame = new Uint8Array(60);
  ethernet.emit({ source: senderMac, destination: to, type: EtherType.Arp }, frame);
  arp.emit({ operation, senderMac, senderIp, targetMac: NOBODY, targetIp }, frame, 14);
  return frame;
}

/** Neighbours on a link, and what they say there. */
async function station(addresses: string[] = [], seed = 1) {
  const runtime = new VirtualRuntime({ seed });
  const net = new Network(runtime);
  const link = new MemoryPort({ layer: 'L2' });
  const neighbours = new Neighbours({ mac: MINE, addresses });
  const host = new Stack({ interfaces: [{ name: 'eth0', addresses }] });
  const conflicts: string[] = [];
  neighbours.onConflict = (address) => conflicts.push(address);
  await net
    .app('host', host)
    .app('arp', neighbours)
    .app('link', link)
    .link('link.out -> arp.frames')
    .link('arp.frames -> link.in')
    .link('host.eth0 -> arp.packets')
    .link('arp.packets -> host.eth0')
    .start();
  runtime.advance('1ms');
  link.received.length = 0;
  const hear = (said: Said) => {
    link.send(arpFrame(said));
    runtime.advance('1ms');
  };
  return { runtime, link, host, neighbours, conflicts, hear, [Symbol.asyncDispose]: () => net.close() };
}

describe('an address that is probed', () => {
  it('is asked for three times in the name of nobody, and free when nobody speaks for two seconds more', async () => {
    const starts = new Set<number>();
    for (let seed = 1; seed <= 20; seed++) {
      await using here = await station([], seed);
      const { runtime, link, neighbours } = here;
      const began = runtime.now();
      let free = 0;
      neighbours.probe(WANTED, (taken) => {
        expect(taken).toBe(false);
        free = runtime.now() - began;
      });
      const times: number[] = [];
      // Looked at so often, times are right to 5 ms.
      for (let n = 0; n < 8000 && !free; n += 5) {
        runtime.advance('5ms');
        for (const { bytes } of link.received.splice(0)) {
          times.push((runtime.now() - began) / 1e9);
          expect(formatMac(bytes)).toBe(EVERYBODY);
          const { senderIp, targetIp, ...rest } = arp.parse(bytes, 14, bytes.length)!;
          expect([formatIp(senderIp), formatIp(targetIp)]).toEqual(['0.0.0.0', WANTED]);
          expect(rest).toEqual({
            operation: arp.Operation.Request,
            senderMac: MINE,
            targetMac: NOBODY,
          });
        }
      }
      expect(times.length).toBe(3);
      const [first, second, third] = times as [number, number, number];
      expect(first).toBeLessThanOrEqual(1.006);
      for (const gap of [second - first, third - second]) {
        expect(gap).toBeGreaterThanOrEqual(0.994);
        expect(gap).toBeLessThanOrEqual(2.006);
      }
      expect(Math.abs(free / 1e9 - third - 2)).toBeLessThanOrEqual(0.006);
      expect(neighbours.report().probes).toBe(3);
      starts.add(first);
    }
    expect(starts.size).toBeGreaterThan(10);
  });

  it.each<[string, Said]>([
    ['answers', { operation: 2, senderIp: WANTED, targetIp: '0.0.0.0', to: MINE }],
    ['announces it', { operation: 1, senderIp: WANTED, targetIp: WANTED }],
    ['asks for others with it', { operation: 1, senderIp: WANTED, targetIp: '10.0.0.1' }],
    ['probes it as well', { operation: 1, senderIp: '0.0.0.0', targetIp: WANTED }],
  ])('is taken when a station %s, at once and once', async (_, said) => {
    await using here = await station();
    const told: boolean[] = [];
    here.neighbours.probe(WANTED, (taken) => told.push(taken));
    here.runtime.advance('1s');
    here.hear(said);
    expect(told).toEqual([true]);
    here.link.received.length = 0;
    here.hear(said);
    here.runtime.advance('20s');
    expect(told).toEqual([true]);
    expect(here.link.received).toEqual([]);
  });

  it.each<[string, Said]>([
    ['of other addresses', { operation: 1, senderIp: '10.0.0.8', targetIp: WANTED }],
    ['that probe others', { operation: 1, senderIp: '0.0.0.0', targetIp: '10.0.0.8' }],
    ['that were its own', { operation: 1, senderMac: MINE, senderIp: '0.0.0.0', targetIp: WANTED }],
    ['that answer nobody', { operation: 2, senderIp: '0.0.0.0', targetIp: WANTED }],
  ])('is free when there are messages %s', async (_, said) => {
    await using here = await station();
    const told: boolean[] = [];
    here.neighbours.probe(WANTED, (taken) => told.push(taken));
    here.hear(said);
    here.runtime.advance('3s');
    here.hear(said);
    here.runtime.advance('5s');
    expect(told).toEqual([false]);
  });

  it('is asked for no more when nobody wants to know; sixteen are at a time', async () => {
    await using here = await station();
    const told: boolean[] = [];
    const probe = () => here.neighbours.probe(WANTED, (taken) => told.push(taken));
    const ends = Array.from({ length: 16 }, probe);
    expect(probe).toThrow(expect.objectContaining({ code: 'ERR_LIMIT' }));
    for (const end of ends) end();
    here.runtime.advance('10s');
    expect([here.link.received.length, told]).toEqual([0, []]);
    probe();
    here.runtime.advance('10s');
    expect(told).toEqual([false]);
    expect(() => here.neighbours.probe('fd00::9', () => {})).toThrow(/fd00::9/);
  });
});

describe('a station without an address', () => {
  it('asks for neighbours in the name of nobody, and hears the answer', async () => {
    await using here = await station(['10.0.0.2/24']);
    const socket = here.host.udp({});
    // The datagram is on its way when the address goes, as one is that gives a lease back.
    socket.send(new Uint8Array(3), '10.0.0.1:67');
    here.neighbours.setAddresses([]);
    here.runtime.advance('1ms');
    const [question] = here.link.received.splice(0);
    expect(formatIp(arp.parse(question!.bytes, 14, 42)!.senderIp)).toBe('0.0.0.0');
    here.hear({ operation: 2, senderIp: '10.0.0.1', targetIp: '0.0.0.0', to: MINE });
    const [datagram] = here.link.received;
    expect(datagram && formatMac(datagram.bytes)).toBe(THEIRS);
  });
});

describe('an own address', () => {
  it('is defended once; a second claim within ten seconds is a conflict, a later one is defended again', async () => {
    await using here = await station(['10.0.0.2/24', '10.0.0.3/24']);
    const claim = (address: string) => here.hear({ operation: 1, senderIp: address, targetIp: address });
    claim('10.0.0.2');
    // Each for itself.
    claim('10.0.0.3');
    expect([here.link.received.length, here.conflicts]).toEqual([2, []]);
    here.runtime.advance('9s');
    claim('10.0.0.2');
    expect([here.link.received.length, here.conflicts]).toEqual([2, ['10.0.0.2']]);
    here.runtime.advance('1s');
    claim('10.0.0.2');
    expect([here.link.received.length, here.conflicts]).toEqual([3, ['10.0.0.2']]);
  });

  it('is not claimed by what the link gives back', async () => {
    await using here = await station(['10.0.0.2/24']);
    for (let n = 0; n < 3; n++)
      here.hear({ operation: 1, senderMac: MINE, senderIp: '10.0.0.2', targetIp: '10.0.0.2' });
    expect([here.link.received.length, here.conflicts]).toEqual([0, []]);
    expect(here.neighbours.report().conflicts).toBe(0);
  });
});

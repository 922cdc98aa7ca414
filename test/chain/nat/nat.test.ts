import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Nat, type NatOptions, TIMEOUTS, TRANSLATED } from '../../../src/chain/nat/nat.ts';
import { NatDrop } from '../../../src/chain/nat/reasons.ts';
import { reasonName } from '../../../src/engine/reasons.ts';
import { SECOND } from '../../../src/engine/units.ts';
import { formatIp, parseIp } from '../../../src/packet/address.ts';
import { icmpEcho, tcpPacket, udpPacket } from '../../../src/packet/build.ts';
import { timeExceeded, UnreachableReason, unreachable } from '../../../src/packet/icmp-error.ts';
import * as ip from '../../../src/packet/ip.ts';
import * as tcp from '../../../src/packet/tcp.ts';
import { upperDistance } from '../../../src/packet/upper.ts';
import { get16 } from '../../../src/packet/word.ts';
import { slowSum } from '../../native/superframes.ts';

const POOL = ['192.0.2.1', '192.0.2.2', '2001:db8::1'];
const make = (options: Partial<NatOptions> = {}) =>
  new Nat({
    addresses: POOL.map(parseIp),
    ports: { min: 1024, max: 65535 },
    sessions: 1000,
    perSource: 1000,
    timeouts: TIMEOUTS,
    secret: Uint8Array.from({ length: 16 }, (_, i) => i * 7 + 1),
    ...options,
  });

type Kind = 'tcp' | 'udp' | 'icmp';
interface End {
  address: string;
  port: number;
}
const text = ({ address, port }: End) =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

/** Of an echo the identifier is the port of the end that asks. */
function build(
  kind: Kind,
  from: End,
  to: End,
  out: boolean,
  flags: number = tcp.Flag.Ack,
  payload = 'abc',
): Uint8Array {
  if (kind === 'icmp') {
    const identifier = out ? from.port : to.port;
    return icmpEcho({ from: from.address, to: to.address, identifier, reply: !out, payload });
  }
  const ends = { from: text(from), to: text(to), payload };
  return kind === 'tcp' ? tcpPacket({ ...ends, flags }) : udpPacket(ends);
}

const sourceOf = (kind: Kind, bytes: Uint8Array): End => ({
  address: formatIp(ip.source(bytes, 0)),
  port: get16(bytes, upperDistance(ip.upper(bytes, 0)) + (kind === 'icmp' ? 4 : 0)),
});

/** Checksums by the book, with nothing of src/packet. */
function checkSums(bytes: Uint8Array): void {
  const four = bytes[0] >> 4 === 4;
  const header = four ? (bytes[0] & 15) * 4 : 40;
  if (four) expect(slowSum(bytes.subarray(0, header))).toBe(0xffff);
  const protocol = four ? bytes[9] : bytes[6];
  const addresses = four ? bytes.subarray(12, 20) : bytes.subarray(8, 40);
  const pseudo = protocol === 1 ? 0 : slowSum(addresses, bytes.length - header + protocol);
  expect(slowSum(bytes.subarray(header), pseudo)).toBe(0xffff);
}

/** What a checksum of zero and one of all ones say is the same: of quoted checksums, and the outer one, that they are right. */
const settled = (bytes: Uint8Array) => {
  const copy = bytes.slice();
  for (let i = 0; i + 1 < copy.length; i += 2)
    if (copy[i] === 0xff && copy[i + 1] === 0xff) copy[i] = copy[i + 1] = 0;
  return copy;
};

const out = (nat: Nat, bytes: Uint8Array, now = 0) => nat.outward(bytes, 0, bytes.length, false, now);
const into = (nat: Nat, bytes: Uint8Array, now = 0) => nat.inward(bytes, 0, bytes.length, false, now);

const PORTS = { min: 1024, max: 1027 };
const INSIDE: End[] = [];
for (const address of ['10.0.0.1', '10.0.0.2', '10.0.0.3', 'fd00::1'])
  for (const port of [1, 2, 3, 4, 5, 6]) INSIDE.push({ address, port });
const REMOTE: Record<4 | 6, End[]> = {
  4: ['198.51.100.1', '198.51.100.2'].flatMap((address) => [7, 443].map((port) => ({ address, port }))),
  6: ['2001:db8:9::1', '2001:db8:9::2'].flatMap((address) => [7, 443].map((port) => ({ address, port }))),
};

const event = fc.record({
  after: fc.oneof({ weight: 12, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 60 })),
  kind: fc.constantFrom<Kind>('tcp', 'udp', 'icmp'),
  inside: fc.nat(INSIDE.length - 1),
  remote: fc.nat(3),
  out: fc.boolean(),
});

describe('a NAT', () => {
  it('does what one does that keeps lists of text', () => {
    const limits = { ports: PORTS, sessions: 40, perSource: 12 };
    const timeouts = {
      tcp: 400 * SECOND,
      tcpTransitory: 60 * SECOND,
      udp: 90 * SECOND,
      udpQuestion: 60 * SECOND,
      icmp: 30 * SECOND,
    };
    const refusals = new Map<number, number>();
    fc.assert(
      fc.property(fc.array(event, { minLength: 300, maxLength: 400 }), (events) => {
        const nat = make({ ...limits, timeouts });
        interface Flow {
          last: number;
          answered: boolean;
          source: string;
          binding: string;
          /** Packets of the way there, and back. */
          sent: number;
          received: number;
        }
        /** By flow; by inner endpoint: the outer one. */
        const flows = new Map<string, Flow>();
        const bindings = new Map<string, End>();
        const idle = (name: string, { answered, sent, received }: Flow) =>
          name.startsWith('udp')
            ? Math.max(sent, received) > 1
              ? timeouts.udp
              : timeouts.udpQuestion
            : name.startsWith('icmp')
              ? timeouts.icmp
              : answered
                ? timeouts.tcp
                : timeouts.tcpTransitory;
        let now = 0;
        for (const each of events) {
          now += each.after * SECOND;
          nat.expire(now, 1000);
          for (const [name, flow] of flows) if (flow.last + idle(name, flow) <= now) flows.delete(name);
          for (const name of bindings.keys())
            if (![...flows.values()].some(({ binding }) => binding === name)) bindings.delete(name);

          const own = INSIDE[each.inside];
          const far = { ...REMOTE[own.address.includes(':') ? 6 : 4][each.remote] };
          // Pings have no port at the far end: it is told apart by its address.
          const name = `${each.kind} ${text(own)} ${each.kind === 'icmp' ? far.address : text(far)}`;
          const binding = `${each.kind} ${text(own)}`;
          const flow = flows.get(name);
          const outer = bindings.get(binding);
          if (each.out) {
            const bytes = build(each.kind, own, far, true);
            const verdict = out(nat, bytes, now);
            const sameSource = [...flows.values()].filter(({ source }) => source === own.address).length;
            const family = own.address.includes(':') ? 1 : 2;
            const prefix = `${each.kind} `;
            const inUse = [...bindings].filter(
              ([key]) => key.startsWith(prefix) && key.includes('[') === (family === 1),
            ).length;
            if (!flow && (flows.size === limits.sessions || sameSource === limits.perSource)) {
              expect(verdict).toBe(flows.size === limits.sessions ? NatDrop.Full : NatDrop.SourceLimit);
              refusals.set(verdict, (refusals.get(verdict) ?? 0) + 1);
            } else if (!flow && !outer && inUse === family * 4) {
              expect(verdict).toBe(NatDrop.NoPort);
              refusals.set(verdict, (refusals.get(verdict) ?? 0) + 1);
            } else {
              expect(verdict).toBe(TRANSLATED);
              const name2 = sourceOf(each.kind, bytes);
              if (outer) expect(name2).toEqual(outer);
              else {
                expect(POOL).toContain(name2.address);
                expect(name2.port).toBeGreaterThanOrEqual(PORTS.min);
                expect(name2.port).toBeLessThanOrEqual(PORTS.max);
                for (const [key, taken] of bindings)
                  if (key.startsWith(prefix)) expect(text(taken)).not.toBe(text(name2));
                bindings.set(binding, name2);
              }
              expect(bytes).toEqual(build(each.kind, name2, far, true));
              checkSums(bytes);
              flows.set(name, {
                last: now,
                answered: flow?.answered ?? false,
                source: own.address,
                binding,
                sent: (flow?.sent ?? 0) + 1,
                received: flow?.received ?? 0,
              });
            }
          } else {
            const at = outer ?? { address: POOL[own.address.includes(':') ? 2 : 0], port: 1026 };
            const bytes = build(each.kind, far, at, false);
            const before = bytes.slice();
            const verdict = into(nat, bytes, now);
            // Somebody else may have just that port, and talk to this one.
            const holder = [...bindings].find(
              ([key, end]) => key.startsWith(`${each.kind} `) && text(end) === text(at),
            );
            const held =
              holder && flows.get(`${holder[0]} ${each.kind === 'icmp' ? far.address : text(far)}`);
            if (!held) {
              expect(verdict).toBe(NatDrop.Unsolicited);
              expect(bytes).toEqual(before);
            } else {
              expect(verdict).toBe(TRANSLATED);
              const ownText = holder[0].split(' ')[1];
              const receiver = INSIDE.find((end) => text(end) === ownText)!;
              expect(bytes).toEqual(build(each.kind, far, receiver, false));
              checkSums(bytes);
              held.last = now;
              held.answered = true;
              held.received++;
            }
          }
          expect(nat.sessions.size).toBe(flows.size);
          expect(nat.bindings).toBe(bindings.size);
        }
        nat.expire(now + 1e6 * SECOND, 1000);
        expect([nat.sessions.size, nat.bindings, nat.nextDeadline()]).toEqual([0, 0, Infinity]);
      }),
      { seed: 11, numRuns: 60 },
    );
    for (const reason of [NatDrop.Full, NatDrop.SourceLimit, NatDrop.NoPort])
      expect(refusals.get(reason), reasonName(reason)).toBeGreaterThan(50);
  }, 60_000);

  it('translates errors about its flows in both directions, and no others', () => {
    for (const kind of ['tcp', 'udp', 'icmp'] as const) {
      for (const own of [INSIDE[0], INSIDE[18]]) {
        const far = REMOTE[own.address.includes(':') ? 6 : 4][0];
        const nat = make();
        const first = build(kind, own, far, true);
        out(nat, first);
        const outer = sourceOf(kind, first);
        /** An error about a packet, from a router, or from where it went. */
        const about = (offender: Uint8Array, from: string) => {
          const bytes = new Uint8Array(1280);
          return bytes.slice(0, timeExceeded(offender, 0, offender.length, parseIp(from).bytes, 0, bytes, 0));
        };
        const router = own.address.includes(':') ? '2001:db8:5::1' : '203.0.113.5';
        const error = about(build(kind, outer, far, true), router);
        expect(into(nat, error)).toBe(TRANSLATED);
        expect(settled(error)).toEqual(settled(about(build(kind, own, far, true), router)));
        checkSums(error);
        // From inside it is the outer address that speaks, also for a router behind it.
        const back = about(
          build(kind, far, own, false),
          own.address.includes(':') ? 'fd00::fe' : '10.0.0.254',
        );
        expect(out(nat, back)).toBe(TRANSLATED);
        expect(settled(back)).toEqual(settled(about(build(kind, far, outer, false), outer.address)));
        checkSums(back);

        const stranger = about(build(kind, { ...outer, port: outer.port ^ 1 }, far, true), router);
        expect(into(nat, stranger)).toBe(NatDrop.Unsolicited);
        // It is no sign of life.
        into(nat, error, 20 * SECOND);
        expect(nat.sessions.last[0]).toBe(0);
      }
    }
  });

  it('keeps TCP connections for hours, and those that are not yet or no longer for minutes', () => {
    const nat = make();
    const [own, far] = [INSIDE[0], REMOTE[4][0]];
    const { Syn, Ack, Fin, Rst } = tcp.Flag;
    let outer = own;
    const step = (flags: number, up: boolean) => {
      const bytes = up ? build('tcp', own, far, true, flags) : build('tcp', far, outer, false, flags);
      expect(up ? out(nat, bytes) : into(nat, bytes)).toBe(TRANSLATED);
      if (up) outer = sourceOf('tcp', bytes);
      return nat.nextDeadline() / SECOND;
    };
    expect(step(Syn, true)).toBe(240);
    expect(step(Syn | Ack, false)).toBe(7440);
    expect(step(Ack, true)).toBe(7440);
    expect(step(Fin | Ack, true)).toBe(7440);
    expect(step(Fin | Ack, false)).toBe(240);
    expect(step(Ack, true)).toBe(240);
    expect(step(Syn, true)).toBe(240);
    expect(step(Syn | Ack, false)).toBe(7440);
    // A reset may be a guess: the connection goes on, and ends earlier when it does not.
    expect(step(Rst, false)).toBe(240);
    expect(step(Ack, true)).toBe(240);
    expect(nat.sessions.size).toBe(1);
  });

  it.each([
    ['of an inner address', { perSource: 3 }, NatDrop.SourceLimit],
    ['of all', { sessions: 3 }, NatDrop.Full],
    [
      'of outer ports',
      { ports: { min: 5000, max: 5002 }, addresses: [parseIp('192.0.2.1')] },
      NatDrop.NoPort,
    ],
  ])(
    'forgets connections that are closed, and no others, when there is no room: %s',
    (_title, options, reason) => {
      const nat = make(options);
      const far = REMOTE[4][0];
      const { Syn, Ack, Fin } = tcp.Flag;
      const outer: End[] = [];
      const up = (port: number, flags: number) => {
        const bytes = build('tcp', { address: '10.0.0.1', port }, far, true, flags);
        const verdict = out(nat, bytes);
        outer[port] = sourceOf('tcp', bytes);
        return verdict;
      };
      const down = (port: number, flags: number) => into(nat, build('tcp', far, outer[port], false, flags));
      for (const port of [1, 2, 3]) {
        expect([up(port, Syn), down(port, Syn | Ack), up(port, Ack)]).toEqual([-1, -1, -1]);
      }
      // One end has closed: it may go on for hours.
      expect(up(1, Fin | Ack)).toBe(TRANSLATED);
      expect(up(4, Syn)).toBe(reason);
      for (const port of [3, 2]) expect([up(port, Fin | Ack), down(port, Fin | Ack)]).toEqual([-1, -1]);
      // The one that was closed first goes first.
      expect(up(4, Syn)).toBe(TRANSLATED);
      // Where there was no other port, the new one has that.
      if (reason !== NatDrop.NoPort) expect(down(3, Ack)).toBe(NatDrop.Unsolicited);
      expect([down(1, Ack), down(2, Ack), down(4, Syn | Ack)]).toEqual([-1, -1, -1]);
      expect(up(5, Syn)).toBe(TRANSLATED);
      expect(up(6, Syn)).toBe(reason);
      expect(down(1, Ack)).toBe(TRANSLATED);
      expect(nat.sessions.size).toBe(3);
    },
  );

  it('draws ports that differ between secrets and are spread over the range', () => {
    const drawn = (seed: number) => {
      const secret = Uint8Array.from({ length: 16 }, (_, i) => i + seed);
      const nat = make({ sessions: 10_000, perSource: 10_000, secret });
      return Array.from({ length: 4000 }, (_, port) => {
        const bytes = udpPacket({ from: `10.0.0.1:${port + 1}`, to: '198.51.100.1:53' });
        expect(out(nat, bytes)).toBe(TRANSLATED);
        return sourceOf('udp', bytes).port;
      });
    };
    const a = drawn(1);
    expect(drawn(1)).toEqual(a);
    expect(drawn(2).filter((port, i) => port === a[i]).length).toBeLessThan(10);
    expect(new Set(a).size).toBe(4000);
    // Sixteen parts of the range, 250 each: chi square with 15 degrees of freedom, 99.9 % below 37.7.
    const parts = new Float64Array(16);
    for (const port of a) parts[Math.floor(((port - 1024) * 16) / 64512)]++;
    expect(parts.reduce((sum, n) => sum + (n - 250) ** 2 / 250, 0)).toBeLessThan(37.7);
    // Neighbours are no neighbours outside.
    expect(a.filter((port, i) => i > 0 && Math.abs(port - a[i - 1]) < 16).length).toBeLessThan(20);
  });

  it('finds the last free ports', () => {
    const nat = make({
      sessions: 4000,
      perSource: 4000,
      ports: { min: 5000, max: 6002 },
      addresses: [parseIp('192.0.2.1')],
    });
    const seen = new Set<number>();
    for (let port = 1; port <= 1003; port++) {
      const bytes = udpPacket({ from: `10.0.0.1:${port}`, to: '198.51.100.1:53' });
      expect(out(nat, bytes)).toBe(TRANSLATED);
      seen.add(sourceOf('udp', bytes).port);
    }
    expect(seen.size).toBe(1003);
    expect(out(nat, udpPacket({ from: '10.0.0.1:2000', to: '198.51.100.1:53' }))).toBe(NatDrop.NoPort);
    expect(out(nat, tcpPacket({ from: '10.0.0.1:2000', to: '198.51.100.1:53' }))).toBe(TRANSLATED);
    expect(out(nat, udpPacket({ from: '[fd00::1]:1', to: '[fd00::2]:53' }))).toBe(NatDrop.NoAddress);
  });

  it('hands its flows to another NAT, which gives their ports to nobody else', () => {
    const from = make();
    const packets = INSIDE.map((own, i) => {
      const kind = (['tcp', 'udp', 'icmp'] as const)[i % 3];
      const far = REMOTE[own.address.includes(':') ? 6 : 4][0];
      const bytes = build(kind, own, far, true);
      out(from, bytes);
      return { kind, own, far, outer: sourceOf(kind, bytes) };
    });
    const to = make({ secret: new Uint8Array(16).fill(9) });
    for (const session of JSON.parse(JSON.stringify([...from.export()])))
      expect(to.import(session, 0)).toBe(true);
    for (const { kind, own, far, outer } of packets) {
      const answer = build(kind, far, outer, false);
      expect(into(to, answer)).toBe(TRANSLATED);
      expect(answer).toEqual(build(kind, far, own, false));
    }
    // What is another's by now is refused.
    const [taken] = from.export();
    const other = { ...taken, key: [...taken.key] };
    other.key[taken.direction === 0 ? 0 : 4] ^= 0x40;
    expect(to.import(other, 0)).toBe(false);
    expect(to.import({ ...taken, address: [1, 0, 0, 0], port: 7, key: other.key }, 0)).toBe(false);
    to.expire(1e6 * SECOND, 1000);
    expect([to.sessions.size, to.bindings]).toEqual([0, 0]);
  });

  it('takes half a million mutated packets without an exception, a byte beyond their end or a flow too many', () => {
    const nat = make({ sessions: 500 });
    const quoted = new Uint8Array(1280);
    const offender = udpPacket({ from: '192.0.2.1:2000', to: '198.51.100.1:53' });
    const length = unreachable(
      offender,
      0,
      offender.length,
      UnreachableReason.Port,
      parseIp('198.51.100.1').bytes,
      0,
      quoted,
      0,
    );
    const samples = [
      ...(['tcp', 'udp', 'icmp'] as const).flatMap((kind) => [
        build(kind, INSIDE[0], REMOTE[4][0], true),
        build(kind, INSIDE[18], REMOTE[6][0], true),
      ]),
      quoted.slice(0, length),
      udpPacket({
        from: '[fd00::1]:5',
        to: '[fd00::2]:6',
        extensions: [{ protocol: 44, bytes: Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 9) }] as never,
        payload: 20,
      }),
    ];
    let seed = 1;
    const draw = (n: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
      return (seed >>> 8) % n;
    };
    const bytes = new Uint8Array(2048).fill(0xa5);
    const counts = new Map<number, number>();
    for (let i = 0; i < 500_000; i++) {
      const sample = samples[draw(samples.length)];
      bytes.set(sample, 64);
      let end = 64 + sample.length;
      for (let flips = draw(4); flips > 0; flips--) bytes[64 + draw(sample.length)] = draw(256);
      if (draw(8) === 0) end = 64 + draw(sample.length + 1);
      const tail = bytes.slice(end, end + 64);
      const verdict = (draw(2) === 0 ? nat.outward : nat.inward).call(
        nat,
        bytes,
        64,
        end,
        draw(4) === 0,
        i * 1000,
      );
      counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
      if (bytes[63] !== 0xa5 || tail.some((byte, k) => byte !== bytes[end + k]))
        expect.fail('wrote beyond the packet');
      if (nat.sessions.size > 500) expect.fail('too many flows');
    }
    for (const reason of [TRANSLATED, NatDrop.Protocol, NatDrop.Unsolicited, NatDrop.Full])
      expect(counts.get(reason), reasonName(reason)).toBeGreaterThan(100);
  }, 60_000);
});

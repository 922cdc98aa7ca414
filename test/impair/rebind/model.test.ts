/** The stage beside a NAT that is slow and obvious, on random packets at random times. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { tcpPacket, udpPacket } from '../../../src/packet/build.ts';
import { Verdict, verifyTransport } from '../../../src/packet/transport.ts';
import { impairedPair } from '../../../src/testing/index.ts';
import { endsOf } from './ends.ts';

const FIRST = 20;
const EVERY = 30;
const GRACE = 7;

const INSIDE = ['10.0.0.1:5000', '10.0.0.1:5001', '10.0.0.2:5000', '[fd00::1]:7'];
const REMOTE = { 4: '192.0.2.1:443', 6: '[2001:db8::1]:443' };
const remoteOf = (end: string) => (end.startsWith('[') ? REMOTE[6] : REMOTE[4]);

/** Names by text, with all the times at which they end. */
class SlowNat {
  readonly names = new Map<string, { inside: string; since: number }>();
  readonly current = new Map<string, string>();

  /** Whether there was a time of rebinding behind `since`, and `grace` before `at`. */
  over(since: number, at: number, grace: number): boolean {
    for (let time = FIRST; time + grace <= at; time += EVERY) if (since < time) return true;
    return false;
  }

  /** A packet went out at `at` by this name: may it? */
  wentOut(key: string, own: string, name: string, at: number): void {
    const has = this.current.get(key);
    const holder = this.names.get(name);
    const since = has === undefined ? undefined : this.names.get(has)?.since;
    if (has !== undefined && since !== undefined && !this.over(since, at, 0)) {
      expect(name).toBe(has);
      return;
    }
    const isFree = !holder || this.over(holder.since, at, GRACE);
    if (has === undefined) {
      const ownHolder = this.names.get(own);
      if (!ownHolder || this.over(ownHolder.since, at, GRACE)) expect(name).toBe(own);
    }
    expect(isFree, `${name} is free`).toBe(true);
    expect(name).not.toBe(has);
    this.names.set(name, { inside: key, since: at });
    this.current.set(key, name);
  }

  /** Where what comes to a name goes: to an end, or nowhere. */
  comesIn(name: string, at: number): string | undefined {
    const found = this.names.get(name);
    if (!found) return name;
    return this.over(found.since, at, GRACE) ? undefined : found.inside;
  }
}

const event = fc.record({
  after: fc.integer({ min: 0, max: 12 }),
  flow: fc.nat(INSIDE.length - 1),
  tcp: fc.boolean(),
  payload: fc.nat(40),
  /** What comes down comes to the newest name of the flow, to one before, or to one that is nobody's. */
  down: fc.option(fc.oneof(fc.nat(3), fc.constant('nobody' as const)), { nil: undefined, freq: 2 }),
});

it('a rebinding does what a NAT does that keeps lists', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 120 }), async (events) => {
      // Few ports, so that they are given again.
      const both = `rebind ${FIRST}ms every ${EVERY}ms ports 5000-5009 grace ${GRACE}ms`;
      const small = { packets: 64, superframes: 2, flows: 256, seed: 3 };
      await using pair = await impairedPair({ both, ...small }, { memory: 24 << 20 });
      const { a, b, runtime } = pair;
      const nat = { udp: new SlowNat(), tcp: new SlowNat() };
      const known = new Map<string, string[]>();
      let now = 0;
      for (const { after, flow, tcp, payload, down } of events) {
        runtime.advance(`${after}ms`);
        now += after;
        const inside = INSIDE[flow];
        const remote = remoteOf(inside);
        const build = tcp ? tcpPacket : udpPacket;
        const model = tcp ? nat.tcp : nat.udp;
        const names = known.get(`${tcp} ${inside}`) ?? [inside];
        known.set(`${tcp} ${inside}`, names);
        if (down === undefined) {
          const before = b.received.length;
          a.send(build({ from: inside, to: remote, payload }));
          runtime.advance(0);
          expect(b.received).toHaveLength(before + 1);
          const { bytes } = b.received[before];
          const { from, to } = endsOf(bytes);
          expect(to).toBe(remote);
          expect(bytes.length).toBe(build({ from: inside, to: remote, payload }).length);
          expect(verifyTransport(bytes, 0)).toBe(Verdict.Right);
          model.wentOut(inside, inside, from, now);
          if (names[names.length - 1] !== from) names.push(from);
        } else {
          const end = inside.startsWith('[') ? '[fd00::9]:9' : '10.0.0.9:9';
          const to = down === 'nobody' ? end : names[Math.max(0, names.length - 1 - down)];
          const before = a.received.length;
          b.send(build({ from: remote, to, payload }));
          runtime.advance(0);
          const arrived = a.received.slice(before).map(({ bytes }) => {
            expect(verifyTransport(bytes, 0)).toBe(Verdict.Right);
            expect(endsOf(bytes).from).toBe(remote);
            return endsOf(bytes).to;
          });
          const expected = model.comesIn(to, now);
          expect(arrived).toEqual(expected === undefined ? [] : [expected]);
        }
      }
    }),
    { seed: 5, numRuns: 60 },
  );
}, 60_000);

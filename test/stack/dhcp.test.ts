import { describe, expect, it } from 'vitest';
import { VirtualRuntime } from '../../src/engine/index.ts';
import { put32 } from '../../src/packet/index.ts';
import { DhcpClient, type Lease } from '../../src/stack/dhcp/client.ts';
import { emitMessage, Kind, parseMessage } from '../../src/stack/dhcp/message.ts';

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 2);
const SERVER = Uint8Array.of(10, 0, 0, 1);
const ADDRESS = Uint8Array.of(10, 0, 0, 50);
const u32 = (value: number) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];

/** A client, and what it says. Options of messages to it are raw. */
function client(seed = 1, probes = false) {
  const runtime = new VirtualRuntime({ seed });
  const random = runtime.random('dhcp');
  const said: { time: number; to: string; kind: number; bytes: Uint8Array }[] = [];
  const leases: (Lease | undefined)[] = [];
  const declined: string[] = [];
  /** Probes that are under way: what they are told. */
  const asked: { address: string; done: (taken: boolean) => void; ended: boolean }[] = [];
  const machine = new DhcpClient({
    mac: MAC,
    now: () => runtime.now(),
    timer: (at, callback) => runtime.timer(at, callback),
    random: () => random.u32(),
    send(bytes, to) {
      const kind = bytes[242]!;
      said.push({ time: runtime.now() / 1e9, to: to ? to.join('.') : 'all', kind, bytes });
    },
    onLease: (lease) => leases.push(lease),
    onDecline: (address) => declined.push(address.join('.')),
    ...(probes && {
      probe(address: Uint8Array, done: (taken: boolean) => void) {
        const probe = { address: address.join('.'), done, ended: false };
        asked.push(probe);
        return () => {
          probe.ended = true;
        };
      },
    }),
  });
  const tell = (
    kind: number,
    options: Record<number, number[]> = {},
    change?: (bytes: Uint8Array) => void,
  ) => {
    const last = said[said.length - 1]!.bytes;
    const bytes = new Uint8Array(400);
    bytes.set(last.subarray(0, 240));
    bytes[0] = 2;
    bytes.set(ADDRESS, 16);
    let at = 240;
    const all: Record<number, number[]> = {
      53: [kind],
      54: [...SERVER],
      1: [255, 255, 255, 0],
      3: [10, 0, 0, 1],
      6: [10, 0, 0, 1, 10, 0, 0, 3],
      51: u32(1000),
      ...options,
    };
    for (const [option, value] of Object.entries(all)) {
      bytes.set([Number(option), value.length, ...value], at);
      at += 2 + value.length;
    }
    bytes[at] = 255;
    change?.(bytes);
    machine.message(bytes);
  };
  const bound = () => {
    machine.start();
    tell(Kind.Offer);
    tell(Kind.Ack);
    return machine;
  };
  const summary = () => said.map(({ time, to, kind }) => `${Math.round(time)} ${to} ${kind}`);
  return { runtime, machine, said, leases, declined, asked, tell, bound, summary };
}

describe('a DHCP client', () => {
  it('discovers, requests what is offered, and has it', () => {
    const { machine, said, leases, tell, summary } = client();
    machine.start();
    tell(Kind.Offer);
    expect(machine.state).toBe('requesting');
    tell(Kind.Ack);
    expect(summary()).toEqual(['0 all 1', '0 all 3']);
    expect([...said[1]!.bytes.subarray(10, 12)]).toEqual([0x80, 0]);
    expect(leases[0]).toMatchObject({
      address: ADDRESS,
      prefixLength: 24,
      routers: [SERVER],
      nameservers: [SERVER, Uint8Array.of(10, 0, 0, 3)],
      server: SERVER,
      expires: 1000e9,
    });
  });

  it('asks again after 4, 8, 16, 32, 64, 64 seconds, each a second more or less', () => {
    const { machine, said, runtime } = client();
    machine.start();
    runtime.advance('190s');
    const waits = said.slice(1).map(({ time }, i) => time - said[i]!.time);
    [4, 8, 16, 32, 64].forEach((wait, i) => {
      expect(Math.abs(waits[i]! - wait)).toBeLessThanOrEqual(1);
    });
    expect(said.every(({ kind }) => kind === Kind.Discover)).toBe(true);
  });

  it('gives an offer up whose server falls silent', () => {
    const { machine, tell, runtime, said } = client();
    machine.start();
    tell(Kind.Offer);
    runtime.advance('63s');
    expect(said.map(({ kind }) => kind)).toEqual([1, 3, 3, 3, 3, 1]);
  });

  it('renews at its server after half of the time', () => {
    const { bound, runtime, tell, summary, leases } = client();
    const machine = bound();
    runtime.advance('501s');
    expect(summary().slice(2)).toEqual(['500 10.0.0.1 3']);
    expect(machine.state).toBe('renewing');
    tell(Kind.Ack);
    expect(machine.state).toBe('bound');
    expect(leases[1]!.expires).toBe(1501e9);
  });

  it('asks everybody when its server is silent, and any may answer; then the lease ends', () => {
    const { bound, runtime, summary, leases, tell } = client();
    const machine = bound();
    runtime.advance('880s');
    expect(summary().slice(2)).toEqual([
      '500 10.0.0.1 3',
      '688 10.0.0.1 3',
      '781 10.0.0.1 3',
      '841 10.0.0.1 3',
      '875 all 3',
    ]);
    expect(machine.state).toBe('rebinding');
    tell(Kind.Ack, { 54: [10, 0, 0, 7] });
    expect(machine.lease!.server).toEqual(Uint8Array.of(10, 0, 0, 7));
    runtime.advance('1001s');
    expect(leases.at(-1)).toBeUndefined();
    expect(machine.state).toBe('selecting');
  });

  it('begins anew ten seconds after a refusal', () => {
    const { bound, runtime, tell, summary, leases } = client();
    const machine = bound();
    runtime.advance('501s');
    tell(Kind.Nak);
    expect([machine.state, leases.at(-1)]).toEqual(['init', undefined]);
    runtime.advance('10s');
    expect(summary().at(-1)).toBe('511 all 1');
  });

  it('keeps a lease for ever without a word', () => {
    const { machine, tell, runtime, said } = client();
    machine.start();
    tell(Kind.Offer);
    tell(Kind.Ack, { 51: u32(0xffffffff) });
    runtime.advance('100000s');
    expect(said.length).toBe(2);
  });

  it('gives a lease back', () => {
    const { bound, summary } = client();
    bound().stop();
    expect(summary().at(-1)).toBe('0 10.0.0.1 7');
  });

  it('uses no address before its probes were silent', () => {
    const { bound, runtime, asked, leases } = client(1, true);
    const machine = bound();
    expect([machine.state, leases, asked.map(({ address }) => address)]).toEqual([
      'probing',
      [],
      ['10.0.0.50'],
    ]);
    runtime.advance('7s');
    asked[0]!.done(false);
    expect(machine.state).toBe('bound');
    // The lease runs since it was given.
    expect(leases).toMatchObject([{ address: ADDRESS, expires: 1000e9 }]);
  });

  it('declines to everybody what another station has, and begins anew ten seconds later', () => {
    const { bound, runtime, asked, said, leases, declined, summary, tell } = client(1, true);
    const machine = bound();
    asked[0]!.done(true);
    expect(summary().slice(2)).toEqual(['0 all 4']);
    const { bytes } = said.at(-1)!;
    // RFC 2131, table 5: no seconds, no flags, no address of the client; kind, client, address and server, and nothing else.
    expect([...bytes.subarray(8, 24)]).toEqual(new Array(16).fill(0));
    expect([...bytes.subarray(243, 265)]).toEqual([
      ...[61, 7, 1, ...MAC],
      ...[50, 4, ...ADDRESS],
      ...[54, 4, ...SERVER],
      255,
    ]);
    expect([machine.state, machine.declined, leases, declined]).toEqual(['init', 1, [], ['10.0.0.50']]);
    tell(Kind.Ack);
    runtime.advance('9.9s');
    expect([machine.state, said.length]).toEqual(['init', 3]);
    runtime.advance('0.2s');
    expect(summary().at(-1)).toBe('10 all 1');
  });

  it('tries an address a minute after ten that others had, until one is good', () => {
    const { runtime, machine, asked, said, tell } = client(1, true);
    machine.start();
    for (let n = 0; n < 13; n++) {
      tell(Kind.Offer);
      tell(Kind.Ack);
      asked[n]!.done(true);
      runtime.advance(n < 10 ? '10s' : '60s');
    }
    const times = said.filter(({ kind }) => kind === Kind.Discover).map(({ time }) => Math.round(time));
    expect(times).toEqual([0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 160, 220, 280]);
    tell(Kind.Offer);
    tell(Kind.Ack);
    asked[13]!.done(false);
    runtime.advance('501s');
    tell(Kind.Ack);
    machine.conflict();
    runtime.advance('11s');
    expect(machine.state).toBe('selecting');
  });

  it('gives up an address that it has when another station keeps to it', () => {
    const { bound, runtime, asked, leases, summary } = client(1, true);
    const machine = bound();
    asked[0]!.done(false);
    runtime.advance('100s');
    machine.conflict();
    expect([summary().at(-1), leases.at(-1), machine.state]).toEqual(['100 all 4', undefined, 'init']);
    machine.conflict();
    expect(machine.declined).toBe(1);
    runtime.advance('500s');
    expect(machine.state).toBe('selecting');
  });

  it('probes no address that it renews, and another that the server gives instead', () => {
    const { bound, runtime, asked, tell, leases } = client(1, true);
    const machine = bound();
    asked[0]!.done(false);
    runtime.advance('501s');
    tell(Kind.Ack);
    expect([machine.state, asked.length, leases.length]).toEqual(['bound', 1, 2]);
    runtime.advance('501s');
    tell(Kind.Ack, {}, (bytes) => void (bytes[19] = 51));
    expect([machine.state, asked.length, leases.length]).toEqual(['probing', 2, 2]);
    asked[1]!.done(false);
    expect(leases[2]!.address).toEqual(Uint8Array.of(10, 0, 0, 51));
  });

  it('ends its probes with itself', () => {
    const { bound, asked, runtime, said } = client(1, true);
    bound().stop();
    expect(asked[0]!.ended).toBe(true);
    runtime.advance('1000s');
    expect(said.length).toBe(2);
  });

  it.each<[string, Record<number, number[]>, ((bytes: Uint8Array) => void) | undefined]>([
    ['of another transaction', {}, (b) => put32(b, 4, 1)],
    ['for another station', {}, (b) => (b[28] = 9)],
    ['of a client', {}, (b) => (b[0] = 1)],
    ['without a cookie', {}, (b) => (b[236] = 0)],
    ['without a lease time', { 51: [] }, undefined],
    ['with a mask that has a gap', { 1: [255, 0, 255, 0] }, undefined],
    ['with no mask of four', { 1: [255] }, undefined],
    ['of a group', {}, (b) => b.set([224, 0, 0, 1], 16)],
    ['of this host itself', {}, (b) => b.set([127, 0, 0, 1], 16)],
    ['without a server', { 54: [] }, undefined],
  ])('takes no offer %s', (_, options, change) => {
    const { machine, tell } = client();
    machine.start();
    tell(Kind.Offer, options, change && ((bytes) => void change(bytes)));
    expect([machine.state, machine.ignored]).toEqual(['selecting', 1]);
  });

  it('takes no answer of another server, and no lease of seconds', () => {
    const { machine, tell, runtime, said } = client();
    machine.start();
    tell(Kind.Offer);
    tell(Kind.Nak, { 54: [10, 0, 0, 6] });
    tell(Kind.Ack, { 54: [10, 0, 0, 6] });
    expect([machine.state, machine.ignored]).toEqual(['requesting', 2]);
    tell(Kind.Ack, { 51: u32(1) });
    runtime.advance('29s');
    expect(said.length).toBe(2);
  });

  it('takes mutated messages without harm, and speaks no more often', () => {
    const { machine, tell, runtime, said } = client();
    const random = runtime.random('mutate');
    machine.start();
    for (let i = 0; i < 20_000; i++) {
      const kind = [Kind.Offer, Kind.Ack, Kind.Nak][random.below(3)]!;
      tell(kind, {}, (bytes) => {
        for (let n = random.below(4); n > 0; n--) bytes[random.below(300)] = random.below(256);
      });
      runtime.advance('1s');
    }
    expect(said.length).toBeLessThan(4000);
  });

  it('reads what it writes', () => {
    const sent = emitMessage({ kind: Kind.Request, transaction: 7, seconds: 3, mac: MAC, hostName: 'here' });
    expect(sent.length).toBe(300);
    expect(parseMessage(sent)).toBeUndefined();
    sent[0] = 2;
    expect(parseMessage(sent)).toMatchObject({ kind: 3, transaction: 7, mac: MAC });
  });
});
